"""CATNet, compared with the printed equations head by head."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention.catnet import CascadeAttention

DIMENSION, HEADS = 4, 3
VARIANTS = [
    {},
    {"shared": False},
    {"takes": "transformed"},
    {"normalize": False},
    {"global_attention": False},
    {"normalize": False, "global_attention": False},
    {"shared": False, "takes": "transformed", "global_attention": False},
]
ALL = [
    {"aggregation": aggregation, **variant}
    for aggregation, variant in itertools.product(("concatenation", "summation"), VARIANTS)
]


def make_layer(heads=HEADS, seed=0, **options):
    torch.manual_seed(seed)
    return CascadeAttention(DIMENSION, heads, **options).double()


def make_sets(sets=2, length=5, seed=1):
    torch.manual_seed(seed)
    return torch.randn(sets, length, DIMENSION, dtype=torch.float64)


def fill_padding_with_nan(x, lengths):
    """Copy sets with NaN and infinities in their padding."""
    corrupted = x.clone()
    for row, length in enumerate(lengths):
        corrupted[row, length:] = torch.nan
        corrupted[row, length : length + 1, 0] = torch.inf
    return corrupted


def reference(
    layer,
    x,
    lengths=None,
    normalize=True,
    global_attention=True,
    aggregation="concatenation",
    shared=True,
    takes="normalized",
):
    """Compute equations 2 to 8 in the order of the paper: V, α and β."""
    output, alphas, betas = [], [], []
    for row, vectors in enumerate(x):
        clips = vectors[: None if lengths is None else lengths[row]]
        alpha, y = [], []
        for head in range(layer.heads):
            powers = torch.stack([torch.exp(clip @ layer.score[head]) for clip in clips])
            alpha.append(powers / powers.sum())
            y.append(sum(a * clip for a, clip in zip(alpha[-1], clips, strict=True)))
            if normalize:
                weight, bias = layer.transform.weight, layer.transform.bias
                if not shared:
                    weight, bias = weight[head], bias[head]
                y[-1] = weight @ y[-1] + bias
                if takes == "normalized":
                    y[-1] = y[-1] / (layer.heads**0.5 * y[-1].square().sum().sqrt())
        g = sum(y) / layer.heads
        beta = [torch.ones((), dtype=x.dtype)] * layer.heads
        if global_attention:
            w = layer.relation.flatten()
            beta = [torch.sigmoid(w @ torch.cat([one, g])) for one in y]
        parts = [b * one for b, one in zip(beta, y, strict=True)]
        output.append(
            torch.cat(parts) if aggregation == "concatenation" else sum(parts) / sum(beta)
        )
        alphas.append(
            torch.stack([torch.cat([a, a.new_zeros(x.shape[1] - len(a))]) for a in alpha])
        )
        betas.append(torch.stack(beta))
    return torch.stack(output), torch.stack(alphas), torch.stack(betas)


@given(
    st.sampled_from(ALL),
    st.integers(1, 4),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_output_equals_the_printed_equations(options, heads, lengths, seed):
    layer = make_layer(heads, seed, **options)
    x = fill_padding_with_nan(make_sets(len(lengths), 6, seed), lengths)
    output, alpha, beta = reference(layer, x, lengths, **options)
    counts = torch.tensor(lengths)
    torch.testing.assert_close(layer(x, counts), output)
    torch.testing.assert_close(layer.attention(x, counts), alpha)
    torch.testing.assert_close(layer.relations(x, counts), beta)


@pytest.mark.parametrize("options", ALL)
def test_missing_lengths_mean_full_sets(options):
    layer, x = make_layer(**options), make_sets()
    assert torch.equal(layer(x), layer(x, torch.tensor([5, 5])))
    assert layer(x).shape == (2, layer.out_features)
    torch.testing.assert_close(layer(x), reference(layer, x, **options)[0])


@pytest.mark.parametrize("options", ALL)
def test_gradcheck(options):
    layer, x = make_layer(**options), make_sets().requires_grad_()
    for counts in (None, torch.tensor([5, 2])):
        inputs = (x, *layer.parameters())
        assert torch.autograd.gradcheck(lambda x, *_, n=counts: layer(x, n), inputs)


@pytest.mark.parametrize("options", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_order_of_clips_does_not_matter(options, dtype):
    torch.manual_seed(0)
    layer, x = CascadeAttention(48, 8, **options).to(dtype), torch.randn(4, 30, 48, dtype=dtype)
    order = torch.randperm(30)
    torch.testing.assert_close(layer(x[:, order]), layer(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", ALL)
def test_output_does_not_depend_on_other_sets_or_padding(options):
    layer, lengths, x = make_layer(**options), [5, 1, 3], make_sets(3)
    alone = [layer(x[row : row + 1, :length]) for row, length in enumerate(lengths)]
    corrupted = fill_padding_with_nan(x, lengths).requires_grad_()
    output = layer(corrupted, torch.tensor(lengths))
    torch.testing.assert_close(output, torch.cat(alone))
    output.square().sum().backward()
    assert not corrupted.grad[1, 1:].any() and not corrupted.grad[2, 3:].any()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_both_readings_of_the_paper_differ():
    x = make_sets()
    output = [make_layer(**options)(x) for options in ({}, {"takes": "transformed"})]
    assert (output[0] - output[1]).abs().max() > 1e-3


def test_sizes():
    def count(**options):
        return sum(p.numel() for p in CascadeAttention(8, 5, **options).parameters())

    assert count() == 5 * 8 + 8 * 8 + 8 + 2 * 8
    assert count(shared=False) == 5 * 8 + 5 * (8 * 8 + 8) + 2 * 8
    assert count(normalize=False) == 5 * 8 + 2 * 8
    assert count(global_attention=False) == 5 * 8 + 8 * 8 + 8
    assert CascadeAttention(8).heads == 32
    assert CascadeAttention(8, 5).out_features == 40
    assert CascadeAttention(8, 5, aggregation="summation").out_features == 8


def test_without_global_attention_all_heads_have_weight_one():
    layer, x = make_layer(global_attention=False), make_sets()
    assert torch.equal(layer.relations(x), torch.ones(2, HEADS, dtype=torch.float64))
    torch.testing.assert_close(layer(x).norm(dim=1), torch.ones(2, dtype=torch.float64))


def test_zero_transform_is_finite():
    layer, x = make_layer(), make_sets()
    torch.nn.init.zeros_(layer.transform.weight)
    torch.nn.init.zeros_(layer.transform.bias)
    output = layer(x)
    output.sum().backward()
    assert not output.any()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("options", ALL)
def test_bfloat16_autocast(options):
    torch.manual_seed(0)
    layer, x = CascadeAttention(16, 3, **options), torch.randn(3, 5, 16)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x, torch.tensor([5, 2, 1]))
    expected = layer(x, torch.tensor([5, 2, 1]))
    torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.03)
    output.float().square().sum().backward()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 0}, "got 0, 32 and 'concatenation'"),
        ({"dimension": 4, "heads": 0}, "got 4, 0 and"),
        ({"dimension": 4, "aggregation": "mean"}, "concatenation or summation; .* 'mean'"),
        ({"dimension": 4, "takes": "raw"}, "normalized or transformed, got 'raw'"),
    ],
)
def test_invalid_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CascadeAttention(**options)


@pytest.mark.parametrize("method", ["forward", "attention", "relations"])
def test_sets_of_another_dimension_are_refused(method):
    with pytest.raises(ValueError, match=r"\(B, L, 4\), got \(2, 5, 6\)"):
        getattr(make_layer(), method)(torch.randn(2, 5, 6))
