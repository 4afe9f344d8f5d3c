"""Weight files that people have, files of something else, and hostile files."""

import argparse
import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from models.backbones.resnet import ResNet
from models.weights.errors import WeightsError
from models.weights.pickle_data import MAX_OPCODES, Call, Global, PickleError, read_pickle
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
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 1}]},
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
    content = (
        b"\x80\x02}U\x01a" b"ctorch.nn.parameter\nParameter\n(" + TENSOR + b"tR(I01\nI00\n}tbs."
    )
    write_legacy(tmp_path / "old.pth", content, {"k1": [1, 2, 3, 4, 5, 6]})
    assert read_weights(tmp_path / "old.pth")["a"].tolist() == [3, 4, 5]


# --- hostile files -------------------------------------------------------------------------------


class Reduced:
    """An object that calls a function when it is unpickled."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def list_attacks(trace):
    """Objects, or pickles, that would write the file ``trace`` when they are unpickled."""
    code, shell = f"open({str(trace)!r}, 'w').close()", f"touch {trace}"
    text = repr(shell).encode()
    return {
        "os.system": Reduced(os.system, (shell,)),
        "eval": Reduced(eval, (code,)),
        "exec": Reduced(exec, (code,)),
        "state": Reduced(exec, (code,), {"a": 1}),
        "nested": [{"x": (Reduced(exec, (code,)),)}],
        "getattr chain": b"\x80\x02cbuiltins\ngetattr\n(cos\n__dict__\nU\x03getttR(S"
        + text + b"\ntR.",
        "INST": b"(S" + text + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS" + text + b"\no.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n(S" + text + b"\nt\x81.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93(S" + text + b"\ntR.",
        "torch.load": b"\x80\x02ctorch\nload\n(S" + repr(str(trace)).encode() + b"\ntR.",
        "setstate": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}U\x08__code__S" + text + b"\nsb.",
        "persistent": b"\x80\x02cos\nsystem\n(S" + text + b"\ntRQ.",
        "extension": b"\x80\x02\x82\x01(S" + text + b"\ntR.",
        "tensor": b"\x80\x02ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n(S" + text + b"\ntRtR.",
    }  # fmt: skip


ATTACKS = list(list_attacks("trace"))


def pickle_attack(attack):
    return attack if isinstance(attack, bytes) else pickle.dumps(attack, protocol=2)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("container", ["zip", "legacy", "bare"])
def test_hostile_pickles_run_nothing(tmp_path, name, container):
    trace, path = tmp_path / "trace", tmp_path / "w.pth"
    pickled = pickle_attack(list_attacks(trace)[name])
    if container == "zip":
        write_zip(path, pickled)
    elif container == "legacy":
        write_legacy(path, pickled, {})
    else:
        path.write_bytes(pickled)
    with pytest.raises(WeightsError, match=r"w\.pth is not a weight file: [^\n]+$"):
        read_weights(path)
    assert not trace.exists()


def write_zip(path, pickled, storages=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("w/data.pkl", pickled)
        for key, content in (storages or {}).items():
            archive.writestr(f"w/data/{key}", content)


def test_attacks_are_attacks(tmp_path):
    """With Python's own unpickler the code runs."""
    trace = tmp_path / "trace"
    for name in ("os.system", "exec", "INST", "OBJ", "STACK_GLOBAL", "nested"):
        pickle.loads(pickle_attack(list_attacks(trace)[name]))
        assert trace.exists(), name
        trace.unlink()


@pytest.mark.parametrize("format", FORMATS)
def test_tensors_beside_hostile_objects_are_read_and_nothing_runs(tmp_path, format):
    trace, weights = tmp_path / "trace", make_weights()
    content = {"state_dict": weights, "args": Reduced(exec, (f"open({str(trace)!r}, 'w')",))}
    assert is_same(read_weights(save(content, tmp_path / "w.pth", format)), weights)
    assert not trace.exists()


def test_named_modules_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "module_with_effects.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    write_zip(tmp_path / "w.pth", b"\x80\x02cmodule_with_effects\nthing\n)R.")
    with pytest.raises(WeightsError, match=r"an object made by module_with_effects\.thing"):
        read_weights(tmp_path / "w.pth")
    assert "module_with_effects" not in sys.modules


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + b"]" * 30_000 + b"a" * 29_999 + b".",
        b"\x80\x02)" + b"\x85" * 30_000 + b".",
        b"\x80\x02})" + b"\x85" * 30_000 + b"NsU\x01aNs.",  # as the key of a dictionary
        b"\x80\x02" + b"}U\x05model" * 15_000 + b"}" + b"s" * 15_000 + b".",
        b"\x80\x02N" + b"cos\nsystem\n" * 10_000 + b".",
        b"\x80\x02" + b"(" * 30_000 + b"t" * 30_000 + b".",
    ],
)
def test_deep_nesting(tmp_path, pickled):
    write_zip(tmp_path / "w.pth", pickled)
    with pytest.raises(WeightsError, match="expected tensors by name"):
        read_weights(tmp_path / "w.pth")


def test_a_network_inside_itself_is_refused(tmp_path):
    """Thirty levels, each of which has the one below twice: a billion parts."""
    level = b"\x80\x02cm\nN\n)\x81}(U\x0b_parameters}U\x08_modules}ub"
    for _ in range(30):
        level += b"q\x000cm\nN\n)\x81}(U\x0b_parameters}U\x08_modules}(U\x01ah\x00U\x01bh\x00uub"
    write_zip(tmp_path / "w.pth", level + b".")
    with pytest.raises(WeightsError, match="more than 100000 parts"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "length", [b"B\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 7 + b"\x7f",
               b"\x8e" + b"\xff" * 8, b"\x96" + b"\xff" * 7 + b"\x7f"]
)  # fmt: skip
def test_huge_claimed_lengths_of_strings(tmp_path, length):
    for write in (write_zip, lambda path, pickled: write_legacy(path, pickled, {})):
        write(tmp_path / "w.pth", b"\x80\x04" + length + b"abc.")
        with pytest.raises(WeightsError, match=r"w\.pth"):
            read_weights(tmp_path / "w.pth")


def make_tensor_pickle(shape, strides, offset=0, numel=4):
    """A dictionary with one tensor of this shape."""
    def numbers(values):
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"
    return (
        b"\x80\x02}U\x01actorch._utils\n_rebuild_tensor_v2\n("
        b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuI%d\ntQ" % numel
        + b"I%d\n" % offset + numbers(shape) + numbers(strides) + b"I00\n)tRs."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ([10**12], [1], 0),
        ([10**12], [0], 0),
        ([10**6, 10**6], [0, 0], 0),
        ([4], [1], 1),
        ([4], [10**18], 0),
        ([2**62, 4], [0, 1], 0),
    ],
)
def test_tensors_that_claim_more_than_the_file_has(tmp_path, shape, strides, offset):
    pickled = make_tensor_pickle(shape, strides, offset)
    write_zip(tmp_path / "w.pth", pickled, {"0": bytes(16)})
    with pytest.raises(WeightsError, match=r"it is damaged: a \(.* is larger than its storage"):
        read_weights(tmp_path / "w.pth")
    write_zip(tmp_path / "w.pth", make_tensor_pickle([4], [1]), {"0": bytes(16)})
    assert read_weights(tmp_path / "w.pth")["a"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("shape", [[-1], [4, 4], [True]])
def test_shapes_that_are_none(tmp_path, shape):
    pickled = make_tensor_pickle(shape, [1])
    write_zip(tmp_path / "w.pth", pickled.replace(b"I1\nt", b"I01\nt"), {"0": bytes(16)})
    with pytest.raises(WeightsError, match="expected tensors by name"):
        read_weights(tmp_path / "w.pth")


def test_compressed_and_missing_storages(tmp_path):
    path, pickled = tmp_path / "w.pth", make_tensor_pickle([4], [1])
    write_zip(path, pickled, {"0": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="compressed by another program"):
        read_weights(path)
    write_zip(path, pickled)
    with pytest.raises(WeightsError, match="storage 0 is missing"):
        read_weights(path)


def test_too_many_instructions(monkeypatch):
    monkeypatch.setattr("models.weights.pickle_data.MAX_OPCODES", 100)
    assert MAX_OPCODES > 10**6
    with pytest.raises(PickleError, match="more than 100 instructions"):
        read_pickle(io.BytesIO(b"N" * 200 + b"."))


def test_what_a_pickle_becomes():
    content = {"a": [1, (2.5, None, True)], "b": b"x", "c": {3}, "d": argparse.Namespace(lr=1)}
    for protocol in range(6):
        value, _ = read_pickle(io.BytesIO(pickle.dumps(content, protocol=protocol)))
        assert (value["a"], value["d"].state) == (content["a"], {"lr": 1})
        assert isinstance(value["d"].function, Global)


@settings(max_examples=60, deadline=None)
@given(
    position=st.integers(0, 10**6), values=st.binary(min_size=1, max_size=4),
    format=st.sampled_from(list(FORMATS)), cut=st.booleans(),
)  # fmt: skip
def test_damaged_files_end_in_one_error(tmp_path_factory, position, values, format, cut):
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    save({"state_dict": {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}, "e": Meter()},
         path, format)  # fmt: skip
    content = bytearray(path.read_bytes())
    position %= len(content)
    if cut:
        del content[position:]
    else:
        content[position : position + len(values)] = values
    path.write_bytes(content)
    try:
        weights = read_weights(path)
    except WeightsError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())


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
    write_zip(path, b"\x80\x02N.")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("w/code/__torch__.py", b"")
    with pytest.raises(WeightsError, match="TorchScript"):
        read_weights(path)


def test_several_groups_of_tensors_are_refused(tmp_path):
    weights = make_weights()
    save({"teacher": weights, "student": weights}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"teacher, student, of which several hold tensors"):
        read_weights(tmp_path / "w.pth")


def test_safetensors_are_known_by_their_content(tmp_path):
    weights = {name: tensor for name, tensor in make_weights().items()}
    save_file(weights, tmp_path / "w.bin")
    assert is_same(read_weights(tmp_path / "w.bin"), weights)


def test_a_read_network_computes_the_same(tmp_path):
    torch.manual_seed(0)
    network, other = (ResNet(18, width=4, num_classes=3).eval() for _ in range(2))
    load_weights(other, read_weights(save(network.state_dict(), tmp_path / "w.pth", "legacy")))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(network(x), other(x))
