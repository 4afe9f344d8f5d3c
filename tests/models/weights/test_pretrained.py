"""Reading, refusing and converting weight files."""

import hashlib
import pickle
import re
import struct
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from models.attention.non_local import NonLocalBlock
from models.backbones.i3d import I3D
from models.backbones.resnet import ResNet
from models.weights.pretrained import (
    WeightsError,
    cross_modality_init,
    digest_weights,
    inflate_time,
    load_weights,
    read_weights,
)


def make_resnet(seed=0, **options):
    torch.manual_seed(seed)
    return ResNet(18, width=4, **{"num_classes": 7, **options})


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
def test_files_are_read_back(tmp_path, ending):
    weights, path = make_resnet().state_dict(), tmp_path / f"w{ending}"
    save_file(weights, path) if ending == ".safetensors" else torch.save(weights, path)
    network = make_resnet(1)
    loaded = load_weights(network, read_weights(path))
    assert same(network.state_dict(), weights)
    assert set(loaded.used) == set(weights)
    assert loaded.skipped == ()


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrappers_of_training_scripts_are_removed(tmp_path, wrapper):
    weights, path = make_resnet().state_dict(), tmp_path / "w.pth"
    wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({wrapper: wrapped, "epoch": 3}, path)
    assert same(read_weights(path), dict(weights))


def test_prefix_of_several_gpus_is_removed_in_safetensors(tmp_path):
    weights, path = make_resnet().state_dict(), tmp_path / "w.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in weights.items()}, path)
    assert same(read_weights(path), dict(weights))


def test_prefixes_of_either_side_are_skipped():
    network = make_resnet(1, num_classes=0)
    weights = dict(make_resnet().state_dict())
    del weights["bn1.weight"]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loaded = load_weights(network, weights, skip=("fc.", "bn1."))
    in_bn = ("bias", "num_batches_tracked", "running_mean", "running_var", "weight")
    assert loaded.skipped == (*(f"bn1.{end}" for end in in_bn), "fc.bias", "fc.weight")
    assert set(loaded.used) == set(before) - set(loaded.skipped)
    for name, tensor in network.state_dict().items():
        source = (
            before if name.startswith("bn1.") else weights
        )  # layer1.0.bn1 does not begin with bn1
        assert torch.equal(tensor, source[name]), name


def test_given_weights_are_not_changed():
    weights, flow = dict(make_resnet().state_dict()), make_resnet(1, in_channels=10)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    load_weights(flow, weights, inflate_channels=True)
    with torch.no_grad():
        for tensor in flow.state_dict().values():
            tensor.zero_()
    assert same(weights, before)


def test_skipped_tensors_are_reported_and_unchanged():
    weights, network = make_resnet(num_classes=9).state_dict(), make_resnet(1)
    before = network.fc.weight.clone()
    loaded = load_weights(network, weights, skip=("fc.",))
    assert loaded.skipped == ("fc.bias", "fc.weight")
    assert torch.equal(network.fc.weight, before)
    assert torch.equal(network.conv1.weight, weights["conv1.weight"])


def without(weights, name):
    return {key: tensor for key, tensor in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, "layer1.0.conv1.weight"), r"missing: layer1\.0\.conv1\.weight\."),
        (lambda w: {**w, "extra.weight": torch.zeros(1)}, r"unexpected: extra\.weight"),
        (lambda w: {**w, "fc.weight": torch.zeros(3, 32)}, r"\(3, 32\) instead of \(7, 32\)"),
        (lambda w: {}, "and [0-9]+ more"),
        (
            lambda w: {**without(w, "bn1.bias"), "new": torch.zeros(1), "fc.bias": torch.zeros(1)},
            r"missing: bn1\.bias; unexpected: new; wrong shape: fc\.bias \(1,\) instead of \(7,\)",
        ),
    ],
)
def test_wrong_weights_are_refused_and_change_nothing(change, message):
    network = make_resnet()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_weights(network, change(dict(make_resnet(1).state_dict())))
    assert same(network.state_dict(), before)


def test_counters_of_batch_norm_may_be_missing():
    weights = {k: v for k, v in make_resnet().state_dict().items() if "num_batches" not in k}
    network = make_resnet(1)
    load_weights(network, weights)
    assert torch.equal(network.fc.weight, weights["fc.weight"])


class Harmful:
    """An object that writes a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return exec, (f"open({str(self.trace)!r}, 'w').close()",)


def test_code_in_files_is_never_run(tmp_path):
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    torch.save({"a": Harmful(trace)}, path)
    with pytest.raises(WeightsError, match=r"w\.pth .*objects such as \S+exec, which are not"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Harmful(trace), protocol=2))
    with pytest.raises(WeightsError, match=r"w\.pth"):
        read_weights(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # without weights_only the code runs


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    whole = save(make_resnet().state_dict(), path)
    for content in (b"<html>404</html>", b"", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"w\.pth"):
            read_weights(path)
    for content in ({"epoch": 3}, torch.zeros(2), [torch.zeros(2)]):
        save(content, path)
        with pytest.raises(WeightsError, match="expected tensors by name"):
            read_weights(path)


def save(content, path):
    torch.save(content, path)
    return path.read_bytes()


@pytest.mark.parametrize("content", [b"<html>404</html>", b"", pickle.dumps({"a": 1})])
def test_damaged_safetensors_are_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"error: not output", b"\x80\x02X\x01", b"h\x01."])
def test_garbage_is_refused(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pth"):
        read_weights(path)


def test_tensors_without_names_are_refused(tmp_path):
    save({0: torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="expected tensors by name"):
        read_weights(tmp_path / "w.pth")


# --- from RGB to flow ----------------------------------------------------------------------------


def test_cross_modality_init_is_the_mean_over_rgb_repeated():
    weight = torch.randn(4, 3, 7, 7)
    flow = cross_modality_init(weight, 10)
    assert flow.shape == (4, 10, 7, 7)
    mean = (weight[:, 0] + weight[:, 1] + weight[:, 2]) / 3
    for channel in range(10):
        torch.testing.assert_close(flow[:, channel], mean)
    assert cross_modality_init(torch.randn(4, 3, 5, 7, 7), 2).shape == (4, 2, 5, 7, 7)


def test_a_flow_network_starts_from_rgb_weights():
    """Other toolboxes skip the first convolution and only log it."""
    weights, flow = make_resnet().state_dict(), make_resnet(1, in_channels=10)
    with pytest.raises(WeightsError, match=r"conv1\.weight \(4, 3, 7, 7\) instead of \(4, 10, "):
        load_weights(flow, weights)
    load_weights(flow, weights, inflate_channels=True)
    expected = cross_modality_init(weights["conv1.weight"], 10)
    assert torch.equal(flow.conv1.weight, expected)
    assert torch.equal(flow.fc.weight, weights["fc.weight"])
    grey = torch.randn(1, 1, 32, 32)
    rgb = make_resnet().eval()
    flow.eval()
    # With equal channels, the first convolution gives 10 / 3 times the output of RGB's.
    torch.testing.assert_close(
        flow.conv1(grey.expand(-1, 10, -1, -1)), rgb.conv1(grey.expand(-1, 3, -1, -1)) * 10 / 3,
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_only_the_first_convolution_is_inflated():
    weights, flow = dict(make_resnet().state_dict()), make_resnet(1, in_channels=10)
    weights["layer1.0.conv1.weight"] = torch.zeros(4, 3, 3, 3)
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv1\.weight \(4, 3, 3, 3\) instead"):
        load_weights(flow, weights, inflate_channels=True)


def test_vector_is_not_inflated():
    weights, flow = dict(make_resnet().state_dict()), make_resnet(1, in_channels=10)
    weights["conv1.weight"] = torch.zeros(4)
    with pytest.raises(WeightsError, match=r"conv1\.weight \(4,\) instead of \(4, 10, 7, 7\)"):
        load_weights(flow, weights, inflate_channels=True)


def test_flow_weights_are_not_converted():
    weights, flow = make_resnet(in_channels=10).state_dict(), make_resnet(1, in_channels=10)
    load_weights(flow, weights, inflate_channels=True)
    assert torch.equal(flow.conv1.weight, weights["conv1.weight"])


def test_only_weights_of_rgb_are_averaged():
    """Flow of ten fields is no RGB: a mean over its channels mixes x, y and ten moments."""
    weights, flow = make_resnet(in_channels=20).state_dict(), make_resnet(1, in_channels=10)
    before = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    with pytest.raises(WeightsError, match=r"\(4, 20, 7, 7\) instead of \(4, 10, 7, 7\). Expected"):
        load_weights(flow, weights, inflate_channels=True)
    assert same(flow.state_dict(), before)
    with pytest.raises(ValueError, match=r"kernel \(out, 3, …\) of RGB, got \(4, 20, 7, 7\)"):
        cross_modality_init(weights["conv1.weight"], 10)


# --- from images to clips ------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_inflated_kernels_sum_to_the_kernel(frames):
    weight = torch.randn(4, 3, 7, 7)
    inflated = inflate_time(weight, frames)
    assert inflated.shape == (4, 3, frames, 7, 7)
    assert inflated.is_contiguous()
    torch.testing.assert_close(inflated.sum(2), weight)
    for slice_ in inflated.unbind(2):
        assert torch.equal(slice_, weight / frames)


@pytest.mark.parametrize(("shape", "frames"), [((4, 3, 5, 7, 7), 3), ((4, 3, 7, 7), 0)])
def test_other_kernels_cannot_be_inflated(shape, frames):
    with pytest.raises(ValueError, match=rf"1 frame or more, got \({shape[0]}, .* and {frames}$"):
        inflate_time(torch.zeros(shape), frames)


def test_kernels_of_another_size_are_refused_with_their_own_shape():
    images, clips = dict(make_images_network().state_dict()), I3D(width=4, num_classes=7)
    images["conv1.weight"] = torch.zeros(4, 3, 5, 5)
    with pytest.raises(WeightsError, match=r"conv1\.weight \(4, 3, 5, 5\) instead of \(4, 3, 5, 7"):
        load_weights(clips, images, inflate_time=True)


def make_images_network(**options):
    """Make a ResNet-50 in eval mode with random BN statistics."""
    torch.manual_seed(0)
    network = ResNet(50, width=4, **{"num_classes": 7, **options}).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            torch.nn.init.normal_(tensor, std=0.1)
        elif name.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.5, 2)
    return network


@pytest.mark.parametrize(("frames", "length"), [(8, 40), (32, 144)])
def test_clip_of_equal_frames_gives_the_features_of_the_image(frames, length):
    """This holds at every step, except for positions in time that padding influences."""
    images, clips = make_images_network(), I3D(width=4, num_classes=7, frames=frames).eval()
    images.maxpool.padding = 0  # as in I3D
    load_weights(clips, images.state_dict(), inflate_time=True)
    x = torch.randn(1, 3, 50, 41)
    y = x[:, :, None].expand(-1, -1, length, -1, -1)
    in_images = dict(images.steps())
    # The number of positions at either end in time that padding influences.
    margin = {8: 2, 32: 1}[frames]
    inflated = {2: "012", 3: "02", 4: "024", 5: "1"}
    longer = {f"res{stage}_{index}" for stage in inflated for index in inflated[stage]}
    with torch.no_grad():
        for name, step in clips.steps():
            y = step(y)
            if name == "pool2":
                margin = -(-margin // 2)
            else:
                x, margin = in_images[name](x), margin + (name in longer)
            inside = y[:, :, margin:-margin]
            assert inside.shape[2] >= 1
            torch.testing.assert_close(
                inside, x[:, :, None].expand_as(inside), rtol=1e-4, atol=1e-4 * x.abs().max()
            )
        for end in (0, -1):
            assert not torch.allclose(y[:, :, end], x, rtol=1e-2)
        torch.testing.assert_close(clips.head(inside), images.head(x), rtol=1e-4, atol=1e-3)


def test_clips_of_flow_start_from_rgb_images():
    images = make_images_network().state_dict()
    clips = I3D(width=4, num_classes=7, in_channels=2)
    load_weights(clips, images, inflate_time=True, inflate_channels=True)
    for kernel in clips.conv1.weight.unbind(1):
        torch.testing.assert_close(kernel.sum(1), images["conv1.weight"].mean(1))
    assert torch.equal(clips.bn1.running_mean, images["bn1.running_mean"])


def test_attention_and_other_classes_are_skipped_by_name():
    images = make_images_network(num_classes=9).state_dict()
    clips = I3D(width=4, num_classes=7, non_local=partial(NonLocalBlock, dims=3))
    with pytest.raises(
        WeightsError, match=r"missing: non_local.* fc\.weight \(9, 128\) instead of \(7, 128\)"
    ):
        load_weights(clips, images, inflate_time=True)
    loaded = load_weights(clips, images, inflate_time=True, skip=("fc.", "non_local."))
    assert {name.split(".")[0] for name in loaded.skipped} == {"fc", "non_local"}


def test_time_is_inflated_only_on_request():
    images, clips = make_images_network().state_dict(), I3D(width=4, num_classes=7)
    before = {name: tensor.clone() for name, tensor in clips.state_dict().items()}
    with pytest.raises(WeightsError, match=r"conv1\.weight \(4, 3, 7, 7\) instead of \(4, 3, 5"):
        load_weights(clips, images)
    wrong = {**images, "layer1.0.conv2.weight": torch.zeros(4, 4, 5, 5)}
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv2\.weight .* instead of \(4, 4, 1"):
        load_weights(clips, wrong, inflate_time=True)
    assert same(clips.state_dict(), before)


def test_clip_weights_are_not_converted():
    weights, clips = I3D(width=4).state_dict(), I3D(width=4)
    load_weights(clips, weights, inflate_time=True)
    assert same(clips.state_dict(), weights)


# --- digests -------------------------------------------------------------------------------------


def test_digest_covers_names_shapes_and_values():
    weights = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2)}
    digest = digest_weights(weights)
    assert re.fullmatch("[0-9a-f]{32}", digest)
    others = [
        {"b": weights["b"].reshape(3, 2), "a": weights["a"]},
        {"c": weights["b"], "a": weights["a"]},
        {"b": weights["b"] + torch.tensor([0, 0, 1e-6]), "a": weights["a"]},
        {"b": weights["b"]},
        {"b": weights["a"], "a": weights["b"]},
        {"b": weights["b"].T.reshape(2, 3), "a": weights["a"]},
    ]
    assert len({digest, *map(digest_weights, others)}) == len(others) + 1


def test_digest_does_not_depend_on_the_storage(tmp_path):
    weights = {"b": torch.randn(4, 3).half().float(), "a": torch.ones(2)}
    digest = digest_weights(weights)
    assert digest_weights(dict(reversed(weights.items()))) == digest
    assert digest_weights({name: tensor.half() for name, tensor in weights.items()}) == digest
    assert digest_weights({name: tensor.double() for name, tensor in weights.items()}) == digest
    turned = {"b": weights["b"].T.contiguous().T, "a": torch.nn.Parameter(weights["a"])}
    assert digest_weights(turned) == digest
    torch.save(weights, tmp_path / "weights.pth")
    assert digest_weights(read_weights(tmp_path / "weights.pth")) == digest


def test_digest_is_stable():
    """Stores identify their weights by the digest."""
    weights = {"fc.weight": torch.arange(4.0).reshape(2, 2), "fc.bias": torch.zeros(2)}
    plain = b"fc.bias (2,)\n" + bytes(8)
    plain += b"fc.weight (2, 2)\n" + struct.pack("<4f", 0, 1, 2, 3)
    assert digest_weights(weights) == hashlib.blake2b(plain, digest_size=16).hexdigest()
    counted = {**weights, "norm.num_batches_tracked": torch.tensor(7)}
    assert digest_weights(counted) == digest_weights(weights)
