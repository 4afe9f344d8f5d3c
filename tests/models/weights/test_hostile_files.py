"""Hostile and damaged weight files: nothing in them runs, and each ends in one error."""

import argparse
import io
import os
import pickle
import struct
import sys
import zipfile
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backbones.resnet import ResNet
from models.weights.errors import WeightsError
from models.weights.pickle_data import MAX_OPCODES, Global, PickleError, read_pickle
from models.weights.pretrained import read_weights

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


def write_legacy(path, pickled, storages):
    """Write the format of PyTorch before 1.6: five pickles and the storages."""
    with path.open("wb") as file:
        for content in (MAGIC, 1001, {"little_endian": True}):
            pickle.dump(content, file, protocol=2)
        file.write(pickled)
        pickle.dump(list(storages), file, protocol=2)
        for values in storages.values():
            file.write(struct.pack(f"<q{len(values)}f", len(values), *values))


def write_zip(path, pickled, storages=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("w/data.pkl", pickled)
        for key, content in (storages or {}).items():
            archive.writestr(f"w/data/{key}", content)


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
        "tensor": b"\x80\x02ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n(S"
        + text + b"\ntRtR.",
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
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    save({"state_dict": weights, "args": argparse.Namespace(lr=1)}, path, format)
    content = bytearray(path.read_bytes())
    position %= len(content)
    if cut:
        del content[position:]
    else:
        content[position : position + len(values)] = values
    path.write_bytes(content)
    message = str(path)
    with suppress(WeightsError):
        try:
            read_weights(path)
        except WeightsError as error:
            message = str(error)
            raise
    assert message.startswith(str(path)) and "\n" not in message


def test_a_name_that_is_no_text_is_not_formatted():
    """As text, a tuple of itself twice, forty times over, has a thousand billion characters."""
    doubled = b"\x8c\x01a" + b"2\x86" * 40
    content, _ = read_pickle(io.BytesIO(b"\x80\x04\x8c\x02os" + doubled + b"\x93."))
    assert content == Global("unknown")
