"""Pyramid attention, compared with its printed equations, and the networks that use it."""

import pytest
import torch
from torch.nn import functional

from models.attention.pyramid import SCORE_FUSIONS, PyramidAttention
from models.backbones.backbone import trace_shapes
from models.backbones.resnet import ResNet
from models.networks.pyramid import PyramidNetwork, PyramidTwoStream

SIZES = ((9, 7), (4, 4), (3, 2))
CHANNELS = (3, 4, 5)


def make_levels(videos=2, frames=3, levels=3, dtype=torch.float64):
    torch.manual_seed(1)
    shapes = list(zip(CHANNELS, SIZES, strict=True))[-levels:]
    return [torch.randn(videos * frames, channels, *size, dtype=dtype) for channels, size in shapes]


def make_layer(levels=3, **options):
    torch.manual_seed(2)
    return PyramidAttention(CHANNELS[-levels:], SIZES[-1], **options).double()


def transcribe(layer, levels, frames):
    """Compute §3 of the paper as printed, video by video: maps, A, and both losses."""
    combine = {
        "multiplication": lambda y: y.prod(0),
        "sum": lambda y: y.sum(0),
        "maximum": lambda y: y.amax(0),
    }[layer.fusion]
    videos, (height, width) = len(levels[0]) // frames, layer.size
    results = []
    for video in range(videos):
        own = slice(video * frames, (video + 1) * frames)
        flat, scores = [], []
        for level, linear in zip(levels, layer.scores, strict=True):
            pooled = functional.adaptive_max_pool2d(level[own], layer.size)
            x = pooled.permute(0, 2, 3, 1).reshape(frames * height * width, -1)
            weight = linear.weight
            flat.append(x)
            scores.append(weight @ x.T + linear.bias[:, None])
        a = torch.softmax(combine(torch.stack(scores)), dim=1)
        basis = a / a.square().sum(1, keepdim=True).sqrt()
        x, depth = flat[-1], height * width
        eye = torch.eye(depth, dtype=x.dtype)
        interactive = -(basis @ (x @ x.T) @ basis.T * eye).sum()
        if layer.energy == "share":
            interactive = interactive / x.square().sum()
        interactive = interactive + ((basis @ basis.T) * (1 - eye)).square().sum()
        delta = torch.stack([(a - torch.softmax(y, dim=1)).abs() for y in scores])
        similarity = (1 - delta.square()).sum().sqrt()
        maps = (basis @ x).T.reshape(-1, height, width)
        results.append((maps, basis, interactive, similarity))
    maps, basis, interactive, similarity = zip(*results, strict=True)
    losses = (sum(interactive) / videos, sum(similarity) / videos)
    return torch.stack(maps), torch.stack(basis), *losses


# --- the layer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", SCORE_FUSIONS)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("energy", ["sum", "share"])
def test_output_equals_the_printed_equations(fusion, levels, frames, energy):
    layer = make_layer(levels, fusion=fusion, energy=energy)
    features = make_levels(2, frames, levels)
    maps, basis, interactive, similarity = transcribe(layer, features, frames)
    output = layer(features, frames, losses=True)
    torch.testing.assert_close(output.maps, maps)
    torch.testing.assert_close(output.interactive_loss, interactive)
    torch.testing.assert_close(output.similarity_loss, similarity)
    attention = layer.attention(features, frames)
    assert attention.shape == (2, 6, frames, 3, 2)
    torch.testing.assert_close(attention.flatten(2), basis)


@pytest.mark.parametrize("moves_features", [False, True])
@pytest.mark.parametrize("energy", ["sum", "share"])
def test_gradients_equal_those_of_the_printed_equations(moves_features, energy):
    layer = make_layer(moves_features=moves_features, energy=energy)
    features = [level.requires_grad_() for level in make_levels()]
    given = [*features, *layer.parameters()]
    output = layer(features, 3, losses=True)
    ours = torch.autograd.grad(output.interactive_loss + output.similarity_loss, given)
    _, _, interactive, similarity = transcribe(layer, features, 3)
    expected = list(torch.autograd.grad(interactive + similarity, given))
    if not moves_features:
        # The top level gets the gradient through the pyramid, but not the one of X in (6).
        frozen = [*features[:2], features[2].detach()]
        _, _, interactive, similarity = transcribe(layer, frozen, 3)
        others = [*features[:2], *layer.parameters()]
        parts = torch.autograd.grad(interactive + similarity, others)
        expected = [*parts[:2], None, *parts[2:]]
    for one, other in zip(ours, expected, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other)
    assert ours[2].any()


def test_gradcheck():
    layer = make_layer(moves_features=True)
    features = [level.requires_grad_() for level in make_levels(1, 2)]
    assert torch.autograd.gradcheck(lambda *levels: layer(levels, 2, losses=True), features)


def test_energy_share_does_not_depend_on_the_scale_of_features():
    layer, features = make_layer(1, energy="share"), make_levels(levels=1)
    with torch.no_grad():
        layer.scores[0].weight.zero_()
        layer.scores[0].bias.zero_()  # equal weights for any features
        outputs = [layer([scale * features[0]], 3, losses=True) for scale in (1, 100)]
    torch.testing.assert_close(*(output.interactive_loss for output in outputs))


def test_one_frame_or_many_have_the_same_parameters():
    layer = make_layer()
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes["scores.0.weight"] == (6, 3)
    assert shapes["scores.2.bias"] == (6,)
    for frames in (1, 3, 25):
        assert layer(make_levels(2, frames), frames).maps.shape == (2, 5, 3, 2)


def test_rows_have_norm_one_over_all_frames():
    attention = make_layer().attention(make_levels(), 3).flatten(2)
    torch.testing.assert_close(attention.square().sum(2), torch.ones(2, 6, dtype=torch.float64))
    assert (attention > 0).all()


def test_the_order_of_frames_does_not_matter():
    layer, features = make_layer(), make_levels(1)
    turned = [level[[2, 0, 1]] for level in features]
    torch.testing.assert_close(layer(turned, 3).maps, layer(features, 3).maps)


def test_videos_of_a_batch_are_independent():
    layer, features = make_layer(), make_levels(2)
    alone = torch.cat([layer([f[i : i + 3] for f in features], 3).maps for i in (0, 3)])
    torch.testing.assert_close(layer(features, 3).maps, alone)


def test_similarity_loss_of_one_level():
    layer, features = make_layer(1), make_levels(2, 3, 1)
    output = layer(features, 3, losses=True)
    assert output.similarity_loss.item() == pytest.approx((6 * 18) ** 0.5)


def test_losses_are_computed_only_on_request():
    output = make_layer()(make_levels(), 3)
    assert output.interactive_loss is None
    assert output.similarity_loss is None


@pytest.mark.parametrize(
    ("levels", "frames", "message"),
    [
        (make_levels()[:2], 3, "expected 3 levels, got 2"),
        (make_levels()[::-1], 3, "a top level of 3×2, got 9×7"),
        ([*make_levels()[1::-1], make_levels()[2]], 3, "must not grow towards the top"),
        (make_levels(), 4, "videos with 4 frames each, got 6"),
        (make_levels(), 0, "videos with 0 frames each"),
    ],
)
def test_wrong_levels_are_refused(levels, frames, message):
    with pytest.raises(ValueError, match=message):
        make_layer()(levels, frames)


def test_unknown_energy_is_refused():
    with pytest.raises(ValueError, match="expected an energy of sum, share; got 'mean'"):
        PyramidAttention((3,), (2, 2), energy="mean")


def test_unknown_fusion_and_no_levels_are_refused():
    with pytest.raises(ValueError, match=r"multiplication, sum, maximum; got 1 levels and 'mean'"):
        PyramidAttention((3,), (2, 2), "mean")
    with pytest.raises(ValueError, match="got 0 levels"):
        PyramidAttention((), (2, 2))


# --- networks ------------------------------------------------------------------------------------


TAPS = ("res3_1", "res4_1", "res5_1")


def make_trunk(channels=3, seed=0):
    torch.manual_seed(seed)
    return ResNet(18, in_channels=channels, num_classes=5, width=4)


def make_network(taps=TAPS, channels=3, size=(40, 32), **options):
    return PyramidNetwork(make_trunk(channels), taps, size, **options).eval()


def test_network_is_the_trunk_with_attention_inside():
    network = make_network(TAPS[:2])
    images = torch.randn(2, 3, 3, 40, 32)
    x, levels, frames = images.flatten(0, 1), [], 3
    for name, step in network.trunk.steps():
        x = step(x)
        if name in TAPS[:2]:
            levels.append(x)
        if name == "res4_1":
            x = network.attention(levels, frames).maps
    torch.testing.assert_close(network(images), network.trunk.head(x), rtol=0, atol=0)
    assert network(images).shape == (2, 5)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_frames_of_any_number(frames):
    assert make_network()(torch.randn(1, frames, 3, 40, 32)).shape == (1, 5)


def test_the_pooled_features_as_the_only_level():
    network = make_network(("features",))
    assert network.attention.size == (32, 1)
    assert network.attention.scores[0].weight.shape == (32, 1)
    assert network(torch.randn(2, 3, 3, 40, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (("res3_1", "res6_0"), "no tap 'res6_0'; there are res2_0, res2_1, .* or features alone"),
        (("features", "res5_1"), "cannot combine 'features' with other taps"),
        ((), "none was named"),
        (("res5_1", "res3_1"), "from the finest to the top one, each once: res3_1, res5_1; got"),
        (("res5_1", "res5_1"), "each once: res5_1; got res5_1, res5_1"),
    ],
)
def test_wrong_taps_are_refused(taps, message):
    with pytest.raises(ValueError, match=message):
        make_network(taps)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="a top level of 2×1, got 2×2"):
        make_network()(torch.randn(1, 2, 3, 40, 40))


def make_pair(scores="both"):
    return PyramidTwoStream(make_network(), make_network(channels=10), scores)


def test_two_stream_scores():
    pair = make_pair().eval()
    rgb, flow = torch.randn(2, 3, 3, 40, 32), torch.randn(2, 3, 10, 40, 32)
    output = pair(rgb, flow)
    assert set(output) == {"rgb", "flow"}
    torch.testing.assert_close(output["flow"], pair.flow(flow), rtol=0, atol=0)
    one = make_pair("rgb").eval()
    assert set(one(rgb)) == {"rgb"}
    assert one.count_used_parameters() == sum(p.numel() for p in one.rgb.parameters())
    with pytest.raises(ValueError, match="need flow images"):
        pair(rgb)


def test_losses_are_returned_in_training():
    pair = make_pair("flow").train()
    output = pair(flow=torch.randn(2, 3, 10, 40, 32))
    assert set(output) == {"flow", "interactive", "attention"}
    sum(value.sum() for value in output.values()).backward()
    assert pair.flow.attention.scores[0].weight.grad.any()
    pair.freeze("flow")
    assert not any(p.requires_grad for p in pair.flow.parameters())


def test_traced_shapes_equal_computed_shapes():
    shapes = trace_shapes(make_trunk(), (3, 40, 32))
    x = torch.randn(1, 3, 40, 32)
    for name, step in make_trunk().steps():
        x = step(x)
        assert shapes[name] == tuple(x.shape[1:])
