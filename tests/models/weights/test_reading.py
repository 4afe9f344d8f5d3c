"""Weight files that people have, and files of something else."""

import argparse
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.backbones.resnet import ResNet
from models.weights.errors import WeightsError
from models.weights.pretrained import load_weights, read_weights

FORMATS = {"zip": True, "legacy": False}
MAGIC = 0x1950A86A20F9469CFC6C


def make_weights():
    torch.manual_seed(0)
    return ResNet(18, width=4, num_classes=3).state_dict()


def is_same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def save(content, path, format="zip"):
    torch.save(content, path, _use_new_zipfile_serialization=FORMATS[format])
    return path


class Meter:
    """An object of a training script, whose class no reader knows."""

    def __init__(self):
        self.values = [np.float64(0.5), {"epoch": np.int64(3)}]


def make_checkpoint():
    """What TSN's and TSM's scripts save, and more."""
    weights = make_weights()
    return weights, {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": OrderedDict((f"module.{n}", t) for n, t in weights.items()),
        "best_prec1": np.float64(71.5),
        "args": argparse.Namespace(lr=0.1, gpus=[0, 1], meter=Meter()),
        "optimizer": {
            "state": {0: {"momentum_buffer": torch.ones(3)}},
            "param_groups": [{"lr": 1}],
        },
        "meter": Meter(),
        "class": Meter,
        "best": torch.tensor(71.5),
    }


@pytest.mark.parametrize("format", FORMATS)
def test_checkpoints_with_objects_of_any_class(tmp_path, format):
    weights, checkpoint = make_checkpoint()
    path = save(checkpoint, tmp_path / "ckpt.best.pth.tar", format)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert is_same(read_weights(path), weights)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"state_dict": w},
        lambda w: {"model": w, "epoch": 3},
        lambda w: {"model_state_dict": w},
        lambda w: {"net": {f"module.module.{n}": t for n, t in w.items()}},
        lambda w: {"network": w},
        lambda w: {"state_dict": {f"model.{n}": t for n, t in w.items()}},
        lambda w: {"state_dict": {f"_orig_mod.{n}": t for n, t in w.items()}},
        lambda w: {"checkpoint": {"state_dict": w}},
        lambda w: {"ema": {n: nn.Parameter(t) if t.is_floating_point() else t
                           for n, t in w.items()}, "step": 5},
        lambda w: {**w, "epoch": 3},
        lambda w: {"model": {"name": "i3d"}, "weights": w},
        lambda w: {"model": {}, "weights": {"state_dict": w}},
        lambda w: {"params": {"lr": 0.1}, "net_a": w},
    ],
)  # fmt: skip
def test_wrappers(tmp_path, format, wrap):
    weights = make_weights()
    content = wrap(weights)
    if "checkpoint" in content:
        content = content["checkpoint"]
    assert is_same(read_weights(save(content, tmp_path / "w.pth", format)), weights)


@pytest.mark.parametrize("format", FORMATS)
def test_whole_networks(tmp_path, format):
    network = ResNet(18, width=4, num_classes=3)
    network.register_buffer("unsaved", torch.zeros(3), persistent=False)
    with torch.no_grad():
        network.bn1.running_mean.normal_()
    save(nn.Sequential(OrderedDict(module=network)), tmp_path / "w.pth", format)
    weights = read_weights(tmp_path / "w.pth")
    assert is_same(weights, dict(network.state_dict()))


@pytest.mark.parametrize("format", FORMATS)
def test_tensors_of_all_types_and_views(tmp_path, format):
    base = torch.arange(24.0)
    weights = {
        "view": base.view(4, 6).T[1:4:2],
        "again": base[3:9],
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "flag": torch.tensor([True, False]),
        **{
            str(dtype): torch.arange(5).to(dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int16, torch.uint8)
        },
    }
    read = read_weights(save(weights, tmp_path / "w.pth", format))
    assert is_same(read, weights)
    assert all(read[name].dtype == weights[name].dtype for name in weights)


# --- files of old versions, which are written here byte by byte ----------------------------------


def write_legacy(path, pickled, storages):
    """Write the format of PyTorch before 1.6: five pickles and the storages."""
    with path.open("wb") as file:
        for content in (MAGIC, 1001, {"little_endian": True}):
            pickle.dump(content, file, protocol=2)
        file.write(pickled)
        pickle.dump(list(storages), file, protocol=2)
        for values in storages.values():
            file.write(struct.pack(f"<q{len(values)}f", len(values), *values))


TENSOR = (  # of protocol 2, as Python 2 wrote it: strings are bytes, and the storage has a view
    b"ctorch._utils\n_rebuild_tensor\n("
    b"(U\x07storagectorch\nFloatStorage\nU\x02k1U\x06cuda:0K\x06(U\x05childK\x02K\x03ttQ"
    b"K\x00(K\x03t(K\x01ttR"
)


def test_a_file_of_python_2(tmp_path):
    """An ordered dictionary is given its pairs as a list."""
    content = b"\x80\x02ccollections\nOrderedDict\n(](](U\x06bias.\xe9" + TENSOR + b"eetR."
    write_legacy(tmp_path / "old.pth.tar", content, {"k1": [1, 2, 3, 4, 5, 6]})
    weights = read_weights(tmp_path / "old.pth.tar")
    assert list(weights) == ["bias.\xe9"]
    assert weights["bias.\xe9"].tolist() == [3, 4, 5]


def test_parameters_of_old_versions(tmp_path):
    content = b"\x80\x02}U\x01actorch.nn.parameter\nParameter\n(" + TENSOR + b"tR(I01\nI00\n}tbs."
    write_legacy(tmp_path / "old.pth", content, {"k1": [1, 2, 3, 4, 5, 6]})
    assert read_weights(tmp_path / "old.pth")["a"].tolist() == [3, 4, 5]


# --- files of something else ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>Google Drive - Virus scan warning</html>", "it is a web page"),
        (b"\n  <html>404</html>", "it is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull`"),
        (b'{"message": "Not Found"}', "it is a text file"),
        (b"\x1f\x8b\x08" + bytes(50), "compressed .gzip.: unpack it first"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
        (bytes(257) + b"ustar" + bytes(300), "it is a tar archive: unpack it first"),
        (pickle.dumps({"a": 1}, protocol=2), "but not of torch.save"),
    ],
)
@pytest.mark.parametrize("ending", ["pth", "pth.tar", "safetensors"])
def test_files_of_something_else(tmp_path, content, message, ending):
    path = tmp_path / f"w.{ending}"
    path.write_bytes(content)
    expected = message if ending != "safetensors" or "torch.save" not in message else ""
    with pytest.raises(WeightsError, match=rf"w\.{ending} is not a weight file: .*{expected}"):
        read_weights(path)


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_files(tmp_path, format):
    path = save(make_weights(), tmp_path / "w.pth", format)
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"incomplete.*Get it again"):
            read_weights(path)


def test_archives_of_other_files_and_programs(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/weights.pth", b"abc")
    with pytest.raises(WeightsError, match=r"other files .model/weights.pth.: unpack it first"):
        read_weights(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02N.")
        archive.writestr("w/code/__torch__.py", b"")
    with pytest.raises(WeightsError, match="TorchScript"):
        read_weights(path)


def test_several_groups_of_tensors_are_refused(tmp_path):
    weights = make_weights()
    save({"teacher": weights, "student": weights}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"teacher, student, of which several hold tensors"):
        read_weights(tmp_path / "w.pth")
    save({"model": {"teacher": weights, "student": weights}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"teacher, student, of which several hold tensors"):
        read_weights(tmp_path / "w.pth")


def test_a_file_that_cannot_be_read_is_not_called_wrong(tmp_path):
    for path, reason in ((tmp_path / "gone.pth", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(WeightsError, match=f"^cannot read {path}: {reason}.*; check"):
            read_weights(path)


def test_safetensors_are_known_by_their_content(tmp_path):
    weights = dict(make_weights())
    save_file(weights, tmp_path / "w.bin")
    assert is_same(read_weights(tmp_path / "w.bin"), weights)


@pytest.mark.parametrize("length", [int.from_bytes(b" [", "little"), 31_520])
def test_safetensors_whose_length_looks_like_json(tmp_path, length):
    path, name = tmp_path / "w.safetensors", "x" * (length - 100)
    save_file({name: torch.ones(2)}, path)
    short = length - int.from_bytes(path.read_bytes()[:8], "little")
    save_file({name + "x" * short: torch.ones(2)}, path)
    assert int.from_bytes(path.read_bytes()[:8], "little") == length
    assert read_weights(path)[name + "x" * short].tolist() == [1, 1]


def test_no_tensor_is_lost_with_its_prefix(tmp_path):
    weights = {"a": torch.zeros(1), "module.a": torch.ones(1)}
    assert is_same(read_weights(save(weights, tmp_path / "w.pth")), weights)
    averaged = {"n_averaged": torch.ones(1), "module.a": torch.zeros(1)}
    assert list(read_weights(save(averaged, tmp_path / "w.pth"))) == ["n_averaged", "a"]
    assert read_weights(save({}, tmp_path / "w.pth")) == {}


def test_a_read_network_computes_the_same(tmp_path):
    torch.manual_seed(0)
    network, other = (ResNet(18, width=4, num_classes=3).eval() for _ in range(2))
    load_weights(other, read_weights(save(network.state_dict(), tmp_path / "w.pth", "legacy")))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(network(x), other(x))
