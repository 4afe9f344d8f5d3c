"""The CMA operation and block, compared with their equations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from models.attention.cross_modality import (
    CrossModalityBlock,
    compute_attention,
    compute_attention_map,
)


def make_block(channels=6, dims=2, seed=0, **options):
    """Make a block in eval mode that is not the identity."""
    torch.manual_seed(seed)
    block = CrossModalityBlock(channels, dims=dims, **options)
    for tensor in (block.norm.weight, block.norm.bias, block.norm.running_mean):
        torch.nn.init.normal_(tensor)
    torch.nn.init.uniform_(block.norm.running_var, 0.5, 2)
    for layer in (block.query, block.key, block.value, block.out):
        torch.nn.init.normal_(layer.bias)
    return block.eval()


def project(layer, x):
    """Compute a 1×1 convolution by its definition: (B, C, …) → (B, positions, out)."""
    weight = layer.weight.flatten(1)
    return torch.einsum("bcn,oc->bno", x.flatten(2), weight) + layer.bias


def pool(y):
    """Max-pool the last two axes by 2×2, without an odd last row or column."""
    h, w = (max(1, side // 2) for side in y.shape[-2:])
    step_h, step_w = (min(2, side) for side in y.shape[-2:])
    parts = [
        y[..., i : i + step_h * h : step_h, j : j + step_w * w : step_w]
        for i in range(step_h)
        for j in range(step_w)
    ]
    return torch.stack(parts).amax(0)


def reference(block, x, y):
    """Compute equations 1 to 5 as printed."""
    q = project(block.query, x)
    k, v = project(block.key, pool(y)), project(block.value, pool(y))
    logits = torch.einsum("bnd,bmd->bnm", q, k) / q.shape[-1] ** 0.5
    f = torch.exp(logits - logits.amax(-1, keepdim=True))  # cancels in C; float32 overflows at e^88
    z = torch.einsum("bnm,bmd->bnd", f / f.sum(-1, keepdim=True), v)
    out = torch.einsum("bnd,cd->bcn", z, block.out.weight.flatten(1)) + block.out.bias[:, None]
    norm = block.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    out = (out - norm.running_mean[:, None]) * scale[:, None] + norm.bias[:, None]
    return out.reshape(x.shape) + x


@given(
    st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(2, 8), st.integers(0, 9)
)
@settings(max_examples=40, deadline=None)
def test_block_equals_its_equations(batch, height, width, channels, seed):
    # In float64: where attention is sharp, float32 rounding errors reach 1e-5.
    block = make_block(channels, seed=seed).double()
    x, y = torch.randn(2, batch, channels, height, width, dtype=torch.float64)
    torch.testing.assert_close(block(x, y), reference(block, x, y), rtol=1e-10, atol=1e-10)


@given(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_block_equals_its_equations_in_3d(size, seed):
    block = make_block(4, dims=3, seed=seed).double()
    x, y = torch.randn(2, 2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(block(x, y), reference(block, x, y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 4), (3, 1), (2, 4, 6), (3, 5, 1)])
def test_block_equals_its_equations_in_float32(size):
    block = make_block(dims=len(size))
    x, y = torch.randn(2, 2, 6, *size)
    torch.testing.assert_close(block(x, y), reference(block, x, y), rtol=1e-5, atol=1e-5)


def test_time_is_not_pooled():
    block = make_block(dims=3)
    x, y = torch.randn(2, 2, 6, 3, 4, 5)
    out = block(x, y)
    assert out.shape == x.shape
    torch.testing.assert_close(out, reference(block, x, y), rtol=1e-5, atol=1e-5)
    assert block.pooled_size(y) == (3, 2, 2)
    assert block.attention(x, y).shape == (2, 3 * 4 * 5, 3 * 2 * 2)


def test_clip_of_one_frame_equals_the_2d_block():
    flat, deep = make_block(seed=4), make_block(seed=4, dims=3)
    deep.load_state_dict(
        {
            name: tensor.reshape(deep.state_dict()[name].shape)
            for name, tensor in flat.state_dict().items()
        }
    )
    x, y = torch.randn(2, 2, 6, 4, 6)
    torch.testing.assert_close(deep(x[:, :, None], y[:, :, None])[:, :, 0], flat(x, y))


@pytest.mark.parametrize("dims", [2, 3])
def test_gradients(dims):
    block = make_block(4, dims=dims).double()
    shape = (2, 2, 4, 3, 4) if dims == 2 else (2, 1, 4, 2, 2, 3)
    x, y = torch.randn(shape, dtype=torch.float64)
    x.requires_grad_(), y.requires_grad_()
    weights = [p for p in block.parameters() if p.requires_grad]
    assert torch.autograd.gradcheck(lambda *inputs: block(*inputs[:2]), (x, y, *weights))


@pytest.mark.parametrize("size", [(5, 4), (1, 6), (2, 5, 4)])
def test_block_uses_the_map_whose_rows_sum_to_one(size):
    block = make_block(dims=len(size))
    x, y = torch.randn(2, 2, 6, *size)
    rows = block.attention(x, y)
    assert rows.shape == (2, x[0, 0].numel(), pool(y)[0, 0].numel())
    torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:2]))
    z = rows @ project(block.value, pool(y))
    expected = block.norm(block.out(z.transpose(1, 2).reshape(2, 3, *size))) + x
    torch.testing.assert_close(block(x, y), expected, rtol=1e-5, atol=1e-5)


def test_fused_attention_equals_plain_attention_also_in_bfloat16():
    q, k, v = torch.randn(3, 2, 9, 8)
    expected = compute_attention_map(q, k) @ v
    torch.testing.assert_close(compute_attention(q, k, v), expected, rtol=1e-5, atol=1e-5)
    half = [tensor.bfloat16() for tensor in (q, k, v)]
    torch.testing.assert_close(compute_attention(*half).float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("positions", [4, 300])
@pytest.mark.parametrize("turned", [False, True])
def test_map_is_computed_where_it_is_smaller_than_the_copies(positions, turned):
    q, k, v = torch.randn(3, 2, positions, 16, dtype=torch.float64)
    if turned:  # as in the block, for contiguous images
        q, k, v = (tensor.mT.contiguous().mT for tensor in (q, k, v))
    expected = (q @ k.mT / 4).softmax(2) @ v
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        output = compute_attention(q, k, v)
    torch.testing.assert_close(output, expected)
    calls = {event.key for event in profiled.key_averages()}
    assert ("aten::scaled_dot_product_attention" in calls) == (positions == 300 or not turned)


@pytest.mark.parametrize("dims", [2, 3])
def test_large_map_is_not_stored(dims):
    """PyTorch falls back silently where its fused kernel does not accept the tensors."""
    block = make_block(dims=dims)
    x, y = torch.randn((2, 2, 6) + (3,) * (dims - 2) + (4, 6))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fused = block(x, y)
    torch.testing.assert_close(fused, reference(block, x, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("training", [False, True])
def test_new_block_is_bitwise_the_identity(dims, training):
    block = CrossModalityBlock(6, dims=dims).train(training)
    x, y = torch.randn((2, 2, 6) + (3,) * (dims - 2) + (4, 4))
    assert torch.equal(block(x, y), x)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(5, 4), (1, 2), (3, 1)])
def test_output_keeps_the_memory_format(size, form):
    """Otherwise the next layers would run other kernels, which round differently."""
    torch.manual_seed(0)
    x, y = (tensor.contiguous(memory_format=form) for tensor in torch.randn(2, 2, 6, *size))
    for block in (make_block(), make_block(uniform=True), CrossModalityBlock(6)):
        out = block.to(memory_format=form)(x, y)
        assert out.stride() == x.stride()
        torch.testing.assert_close(out, block(x.contiguous(), y.contiguous()))


def test_uniform_weights_replace_the_softmax():
    block = make_block(uniform=True)
    x, y = torch.randn(2, 2, 6, 4, 4)
    mean = functional.max_pool2d(y, 2).mean(dim=(2, 3), keepdim=True)
    expected = block.norm(block.out(block.value(mean))) + x
    torch.testing.assert_close(block(x, y), expected)
    other = torch.randn_like(x)
    torch.testing.assert_close(block(other, y) - other, block(x, y) - x)  # x has no influence


def test_block_uses_the_uniform_map():
    block = make_block(uniform=True)
    x, y = torch.randn(2, 2, 6, 4, 4)
    torch.testing.assert_close(block.attention(x, y), torch.full((2, 16, 4), 0.25))


def test_he_initialization_and_zero_biases():
    torch.manual_seed(0)
    block = CrossModalityBlock(512)
    for layer in (block.query, block.key, block.value, block.out):
        out = layer.weight.shape[0]
        assert layer.weight.std().item() == pytest.approx((2 / out) ** 0.5, rel=0.02)
        assert not layer.bias.any()
    assert not block.norm.weight.any()


def test_single_position_passes_only_values():
    """A 2×2 image is pooled to one position, which gets all the attention."""
    block = make_block()
    x, y = torch.randn(2, 2, 6, 2, 2)
    torch.testing.assert_close(block.attention(x, y), torch.ones(2, 4, 1))


def test_invalid_arguments_are_refused():
    for channels, dims in ((6, 1), (6, 4), (1, 2)):
        with pytest.raises(ValueError, match="expected dims 2 or 3 and 2 channels or more"):
            CrossModalityBlock(channels, dims=dims)
