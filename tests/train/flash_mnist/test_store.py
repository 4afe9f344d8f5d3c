"""The store of Flash-MNIST, whole but tiny: its content, going on after a kill, refusals."""

import gzip
import json
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from flowkit.errors import RecipeError, StoreError, UsageError
from flowkit.store import Store
from flowkit.synthetic.flash_mnist import CLASS_NAMES, FlashMNIST
from flowkit.synthetic.mnist import FILES, Digits
from models.networks.digits import DigitNetwork
from models.weights.pretrained import digest_weights, read_weights
from train.commands.flash_mnist import flash_mnist
from train.flash_mnist.digits import DigitTraining, extract_features
from train.flash_mnist.store import make_store

TRAINING = DigitTraining(epochs=1)
CLASSES = [0, 5, 1023]


def make_digits(count: int) -> Digits:
    """Digit d is a bright bar at row 2d + 4."""
    labels = np.arange(count) % 10
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 4, 4:24] = 255
    return Digits(images, labels.astype(np.uint8))


def make_videos(seed: int = 0, copies: int = 3) -> FlashMNIST:
    digits = {"train": make_digits(60), "test": make_digits(20)}
    return FlashMNIST(digits, seed=seed, videos={"train": copies, "test": 2}, classes=CLASSES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "deep" / "flash"
    make_store(path, make_videos(), TRAINING)
    return path


def read_network(path: Path) -> DigitNetwork:
    network = DigitNetwork()
    network.load_state_dict(read_weights(path.with_name(f"{path.name}.pt")))
    return network.eval()


def test_the_store_has_each_video_s_class_subset_and_features(made: Path) -> None:
    store, videos = Store(made), make_videos()
    assert store.classes == tuple(CLASS_NAMES)
    assert store.subsets() == {"test": 6, "train": 9}
    network = read_network(made)
    for split in ("train", "test"):
        for number in range(videos.count(split)):
            video = store[videos.video_id(split, number)]
            names = [label.name for label in video.labels]
            assert names == [CLASS_NAMES[videos.label(split, number)]]
            assert video.subsets == (split,)
            found = video.features("digits")
            assert found.dtype == np.float16
            expected = extract_features(network, videos.frames(split, number)[None])[0]
            np.testing.assert_allclose(found, expected, rtol=2**-9, atol=1e-4)
            positions = video.vectors("features/digits", "position")
            assert positions.tolist() == list(range(25))


def test_what_the_network_is_stands_in_the_recipe_and_beside_the_store(made: Path) -> None:
    recipe = Store(made).recipe.features["digits"]
    facts = json.loads(made.with_name("flash.json").read_bytes())
    assert recipe.weights == facts["weights"] == digest_weights(read_network(made).state_dict())
    assert (recipe.dimension, recipe.positions) == (50, 25)
    assert facts["digits"] == {"train": 60, "test": 20}
    assert facts["training"]["epochs"] == 1
    assert 0 <= facts["accuracy"]["noise"] <= 1
    assert "60 training and 20 test digits" in recipe.note


def test_a_killed_command_goes_on(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "flash"
    calls = []

    def break_down(network: DigitNetwork, frames: np.ndarray) -> np.ndarray:
        calls.append(len(frames))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return extract_features(network, frames)

    monkeypatch.setattr("train.flash_mnist.store.BLOCK", 2)
    monkeypatch.setattr("train.flash_mnist.store.extract_features", break_down)
    with pytest.raises(KeyboardInterrupt):
        make_store(path, make_videos(), TRAINING)
    calls[:] = [0, 0]
    make_store(path, make_videos(), TRAINING)
    first, second = Store(made), Store(path)
    assert list(first) == list(second)
    for id in first:
        np.testing.assert_array_equal(first[id].features("digits"), second[id].features("digits"))
    calls[:] = [0, 0]
    version = second.version
    make_store(path, make_videos(), TRAINING)
    assert calls == [0, 0] and Store(path).version == version


def test_more_videos_of_the_same_network_come_to_the_others(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "flash"
    make_store(path, make_videos(copies=1), TRAINING)
    make_store(path, make_videos(copies=3), TRAINING)
    assert list(Store(path)) == list(Store(made))
    one = "train/02/000"
    np.testing.assert_array_equal(
        Store(path)[one].features("digits"), Store(made)[one].features("digits")
    )


def test_another_seed_or_training_is_refused(made: Path) -> None:
    with pytest.raises(UsageError, match=r"has seed 0, not 7.*remove flash.json and flash.pt"):
        make_store(made, make_videos(seed=7), TRAINING)
    with pytest.raises(UsageError, match=r"'epochs': 1.*not .*'epochs': 2"):
        make_store(made, make_videos(), DigitTraining(epochs=2))


def test_another_network_in_the_store_is_refused(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "flash"
    make_store(path, make_videos(), TRAINING)
    for ending in (".json", ".pt"):
        path.with_name(f"flash{ending}").unlink()
    with pytest.raises(RecipeError, match="features"):
        make_store(path, make_videos(), DigitTraining(epochs=2))


@pytest.mark.parametrize("damage", ["cut json", "no weights", "cut weights", "other weights"])
def test_a_damaged_network_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "flash"
    make_store(path, make_videos(copies=1), TRAINING)
    text, weights = path.with_name("flash.json"), path.with_name("flash.pt")
    if damage == "cut json":
        text.write_bytes(text.read_bytes()[:20])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:500])
    else:
        import torch

        torch.save(DigitNetwork().state_dict(), weights)
    problem = {"no weights": "is missing", "other weights": "has other"}.get(damage, "is damaged")
    with pytest.raises(UsageError, match=rf"{problem}.*remove flash\.json and flash\.pt"):
        make_store(path, make_videos(copies=1), TRAINING)


@pytest.mark.parametrize("name", ["flash.json", "flash.pt"])
def test_a_network_that_cannot_be_read_is_not_called_damaged(
    made: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Root may read anything, so the refusal is played."""
    real = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match=r"cannot be read \(Permission denied\); check") as error:
        make_store(made, make_videos(), TRAINING)
    assert "remove" not in str(error.value)


# --- the command ---------------------------------------------------------------------------------


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def test_the_command_says_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, names in FILES.items():
        digits = make_digits({"train": 40, "test": 20}[split])
        for name, values in zip(names, (digits.images, digits.labels), strict=True):
            write_idx(tmp_path / f"{name}.gz", values)
    small = partial(FlashMNIST, videos={"train": 1, "test": 1}, classes=CLASSES)
    monkeypatch.setattr("flowkit.synthetic.flash_mnist.FlashMNIST", small)
    arguments = ["--store", str(tmp_path / "S"), "--data", str(tmp_path), "--epochs", "1"]
    result = CliRunner().invoke(flash_mnist, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "40 training and 20 test digits; the CNN reads" in result.output
    assert len(Store(tmp_path / "S")) == 6


def test_the_command_says_where_mnist_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=r"mnist; put train-images-idx3-ubyte, .* FLOWKIT_DATA"):
        CliRunner().invoke(flash_mnist, ["--store", str(tmp_path / "S")], catch_exceptions=False)
    assert not (tmp_path / "S").exists()
