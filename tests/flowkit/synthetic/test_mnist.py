"""MNIST's files: read as they are or compressed; what is wrong with them is said in words."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from flowkit.errors import UsageError
from flowkit.synthetic.mnist import FILES, read_digits

IMAGES, LABELS = FILES["train"]


def encode(values: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / IMAGES).write_bytes(encode(rng.integers(0, 256, (30, 28, 28))))
    (tmp_path / LABELS).write_bytes(encode(np.arange(30) % 10))
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    digits = read_digits(folder, "train")
    expected = np.random.default_rng(0).integers(0, 256, (30, 28, 28))
    np.testing.assert_array_equal(digits.images, expected)
    np.testing.assert_array_equal(digits.labels, np.arange(30) % 10)
    assert len(digits) == 30
    assert digits.images.dtype == digits.labels.dtype == np.uint8


def test_compressed_files_are_the_same(folder: Path) -> None:
    plain = read_digits(folder, "train")
    for name in (IMAGES, LABELS):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    packed = read_digits(folder, "train")
    np.testing.assert_array_equal(plain.images, packed.images)
    np.testing.assert_array_equal(plain.labels, packed.labels)


def test_absent_files_are_named_and_where_they_go(folder: Path) -> None:
    match = r"no t10k-images-idx3-ubyte or .*\.gz in .*put train-images-idx3-ubyte, train-labels"
    with pytest.raises(UsageError, match=match):
        read_digits(folder, "test")


@pytest.mark.parametrize("length", [0, 3, 7, 15, 16, 100, 30 * 784 + 15])
def test_a_cut_file_is_refused(folder: Path, length: int) -> None:
    path = folder / IMAGES
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(
        UsageError, match=f"{IMAGES}.*(is truncated|expected an IDX file).*put train-"
    ):
        read_digits(folder, "train")


@pytest.mark.parametrize("length", [0, 5, 100, 5000])
def test_a_cut_archive_is_refused(folder: Path, length: int) -> None:
    path = folder / IMAGES
    packed = gzip.compress(path.read_bytes())[:length]
    path.unlink()
    (folder / f"{IMAGES}.gz").write_bytes(packed)
    with pytest.raises(UsageError, match=rf"{IMAGES}\.gz.*(truncated|IDX file).*put train-"):
        read_digits(folder, "train")


def test_a_broken_archive_is_refused(folder: Path) -> None:
    path = folder / IMAGES
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[len(packed) // 2] ^= 0xFF
    path.unlink()
    (folder / f"{IMAGES}.gz").write_bytes(packed)
    with pytest.raises(UsageError, match="is truncated or damaged"):
        read_digits(folder, "train")


def test_bytes_after_the_end_are_refused(folder: Path) -> None:
    with (folder / LABELS).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UsageError, match="states 38 bytes, got 39"):
        read_digits(folder, "train")


def test_labels_for_images_have_another_magic_number(folder: Path) -> None:
    (folder / IMAGES).write_bytes((folder / LABELS).read_bytes())
    with pytest.raises(UsageError, match="begins with 00000803, got 00000801"):
        read_digits(folder, "train")


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        ((30, 28, 27), np.arange(30) % 10, r"expected images of 28×28, got \(28, 27\)"),
        ((29, 28, 28), np.arange(30) % 10, "29 images in .* and 30 labels"),
        ((30, 28, 28), np.arange(30) % 11, "labels 0 to 9, got 10"),
        ((30, 28, 28), np.arange(30) % 8, "no digit 8, 9 among 30"),
        ((0, 28, 28), np.arange(0), "no digit 0, 1, .* among 0"),
    ],
)
def test_files_that_do_not_go_together(
    folder: Path, images: tuple[int, ...], labels: np.ndarray, match: str
) -> None:
    (folder / IMAGES).write_bytes(encode(np.zeros(images)))
    (folder / LABELS).write_bytes(encode(labels))
    with pytest.raises(UsageError, match=match):
        read_digits(folder, "train")
