"""MNIST's digits, from the IDX files in which it is published (LeCun, Cortes and Burges, 1998).

An IDX file is big-endian: the magic number 0x0000080N (unsigned bytes in N dimensions), N sizes of
32 bits, and the values, last dimension first. Any number of digits may be in the files.
"""

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError

SIDE = 28
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
HOW = (
    "put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte there, each as it is or as .gz (mirrors of MNIST have these four "
    "files), or name another folder with --data or FLOWKIT_DATA"
)


@dataclass(frozen=True, slots=True)
class Digits:
    """Handwritten digits: images uint8 (n, 28, 28), 0 background and 255 ink; labels uint8 (n,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)


def read_digits(folder: Path, split: str) -> Digits:
    """The digits of a split (train or test) from a folder with MNIST's files, or parts of them.

    Raises UsageError, which says what to put where, for files that are absent, cut or others, and
    for digits that do not match their labels.
    """
    image_file, label_file = (find_file(folder, name) for name in FILES[split])
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if images.shape[1:] != (SIDE, SIDE):
        raise UsageError(f"{image_file}: expected images of 28×28, got {images.shape[1:]}; {HOW}")
    if len(images) != len(labels):
        raise UsageError(
            f"expected as many labels as images, got {len(images)} images in {image_file} and "
            f"{len(labels)} labels in {label_file}; take both from one place"
        )
    if len(labels) and labels.max() > 9:
        raise UsageError(f"{label_file}: expected labels 0 to 9, got {labels.max()}; {HOW}")
    missing = sorted(set(range(10)) - set(labels.tolist()))
    if missing:
        names = ", ".join(map(str, missing))
        raise UsageError(f"{label_file}: no digit {names} among {len(labels)}; all ten are needed")
    return Digits(images, labels)


def find_file(folder: Path, name: str) -> Path:
    """The file of that name, as it is or compressed."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UsageError(f"no {name} or {name}.gz in {folder}; {HOW}")


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The bytes of an IDX file (or .gz) of so many dimensions, by its sizes; UsageError if not."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is cut or broken ({error}); {HOW}") from error
    magic = bytes((0, 0, 8, dimensions))
    begin = 4 + 4 * dimensions
    if content[:4] != magic:
        raise UsageError(
            f"{path}: expected an IDX file of bytes that begins with {magic.hex()}, "
            f"got {content[:4].hex() or 'nothing'}; {HOW}"
        )
    if len(content) < begin:
        raise UsageError(f"{path} is cut: its header ends after {len(content)} bytes; {HOW}")
    shape = struct.unpack(f">{dimensions}I", content[4:begin])
    expected = begin + int(np.prod(shape, dtype=np.uint64))
    if len(content) != expected:
        raise UsageError(
            f"{path} is cut or has more than one file in it: its header promises {expected} bytes, "
            f"got {len(content)}; {HOW}"
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
