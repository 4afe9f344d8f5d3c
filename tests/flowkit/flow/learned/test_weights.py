"""Weight files: where they are looked for, how they are read, and their digest."""

import pickle
import sys
from pathlib import Path

import pytest

from flowkit.errors import FlowError, UsageError
from flowkit.flow.learned.shapes import describe_mismatch
from flowkit.flow.learned.weights import (
    choose_weights,
    digest_weights,
    find_weights_file,
    read_weights,
)
from models.weights.pretrained import digest_weights as digest_of_models

torch = pytest.importorskip("torch", reason="learned methods need PyTorch")
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([0.5])}


def test_a_missing_file_is_named_with_its_folder_and_nothing_is_fetched(
    reds, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "hub" / "checkpoints"
    with pytest.raises(FlowError) as refusal:
        find_weights_file("reds", None)
    for part in ("weights of reds", "reds.pth", str(folder), "does not download", "import reds",
                 "--flow-weights FILE"):  # fmt: skip
        assert part in str(refusal.value)
    assert not (tmp_path / "cache").exists()
    folder.mkdir(parents=True)
    (folder / "reds.pth").touch()
    assert find_weights_file("reds", None) == folder / "reds.pth"


def test_a_named_file_must_exist(reds, tmp_path, monkeypatch):
    with pytest.raises(FlowError, match=r"absent\.pth of reds does not exist: .* reds\.pth"):
        find_weights_file("reds", tmp_path / "absent.pth")
    with pytest.raises(FlowError, match="is a folder"):
        find_weights_file("reds", tmp_path)
    (tmp_path / "w.pth").touch()
    monkeypatch.chdir(tmp_path)
    assert find_weights_file("reds", Path("w.pth")) == tmp_path / "w.pth"  # workers run elsewhere
    with pytest.raises(UsageError, match="unknown method of optical flow 'redds'; did you mean"):
        find_weights_file("redds", None)


@pytest.mark.parametrize(
    ("make_content", "message"),
    [
        (lambda path: path.write_text("not weights at all"), "is not a weight file"),
        (lambda path: path.write_bytes(b""), r"is not a weight file: .* \(EOFError\)"),
        (lambda path: (torch.save(TENSORS, path), path.write_bytes(path.read_bytes()[:-200])),
         "is not a weight file"),
        (lambda path: torch.save(TENSORS["b"], path), "holds no weights: .* got Tensor"),
        (lambda path: torch.save({}, path), "holds no weights: .* got nothing"),
        (lambda path: torch.save({"a": 1}, path), "holds no weights"),
        (lambda path: torch.save({"a": Path("x")}, path), "holds more than tensors"),
        (lambda path: torch.save({"a": torch.ones(2).to_sparse()}, path), "a is a sparse tensor"),
        (lambda path: torch.save({"a": torch.ones(2, device="meta")}, path), "a is a meta"),
        (lambda path: torch.save({"a": torch.ones(2) * 1j}, path), "a is a complex tensor"),
        (lambda path: path.write_bytes(pickle.dumps(print)), "weight file|more than tensors"),
    ],
)  # fmt: skip
def test_other_files_are_refused_by_name(make_content, message, tmp_path):
    path = tmp_path / "other.pth"
    make_content(path)
    with pytest.raises(FlowError, match=message) as refusal:
        read_weights(path)
    assert str(path) in str(refusal.value) and "weights_only" not in str(refusal.value)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"),
                                   OSError(5, "Input/output error")])  # fmt: skip
def test_a_file_that_the_disk_does_not_give_is_not_called_damaged(error, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(FlowError, match=rf"cannot read .*w\.pth: {error.strerror}; check the file"):
        read_weights(tmp_path / "w.pth")


def test_nor_is_one_whose_package_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match="safetensors"):
        read_weights(tmp_path / "w.safetensors")


def test_the_digest_is_that_of_the_values_whatever_file_they_are_in(tmp_path):
    from safetensors.torch import save_file

    torch.save(TENSORS, tmp_path / "plain.pth")
    wrapped = {f"module.{name}": tensor for name, tensor in reversed(TENSORS.items())}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "wrapped.pth")
    save_file(TENSORS, tmp_path / "safe.safetensors")
    counted = {**TENSORS, "bn.num_batches_tracked": torch.tensor(7)}
    torch.save(counted, tmp_path / "counted.pth")
    digests = {digest_weights(read_weights(path)) for path in tmp_path.iterdir()}
    assert digests == {digest_of_models(TENSORS)}
    for name, tensor in TENSORS.items():
        assert digest_weights({**TENSORS, name: tensor + 1}) not in digests
    assert digest_weights({"c": TENSORS["b"], "a.weight": TENSORS["a.weight"]}) not in digests


def test_weights_are_chosen_only_if_they_fit(reds, make_weights, tmp_path):
    found = choose_weights("reds", make_weights(0.5))
    assert found == (tmp_path / "reds.pth", digest_weights({"scale": torch.tensor(0.5)}))
    torch.save(TENSORS, tmp_path / "other.pth")
    with pytest.raises(FlowError, match=r"other\.pth does not hold the weights of reds: a\.weight"):
        choose_weights("reds", tmp_path / "other.pth")
    reds(find_obstacle=lambda: "redslib is not installed: pip install redslib")
    with pytest.raises(FlowError, match="reds cannot run here: redslib is not installed"):
        choose_weights("reds", make_weights(0.5))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"a.weight": (2, 3), "b": (1,)}, ""),
        ({"a.weight": (2, 3), "b": (1,), "bn.num_batches_tracked": ()}, ""),
        ({"a.weight": (3, 2), "b": (1,)}, "a.weight has shape (2, 3), expected (3, 2)"),
        ({"a.weight": (2, 3)}, "b is unknown"),
        ({"a.weight": (2, 3), "b": (1,), "c": (4,)}, "c is missing"),
        ({"b": (2,), "c": (4,)},
         "b has shape (1,), expected (2,); c is missing (and 1 more)"),
    ],
)  # fmt: skip
def test_differences_are_named_with_their_shapes(expected, message):
    assert describe_mismatch(TENSORS, expected) == message
