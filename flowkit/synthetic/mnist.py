"""Read MNIST's digits from the IDX files in which they are published.

LeCun, Cortes and Burges, 1998. An IDX file is big-endian: the magic number 0x0000080N (unsigned
bytes in N dimensions), N sizes of 32 bits, and the values in row-major order. The files may hold
any number of digits.
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
FILES_HELP = (
    "put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte there, each as it is or as .gz (mirrors of MNIST have these four "
    "files), or name another folder with --data or FLOWKIT_DATA"
)


@dataclass(frozen=True, slots=True)
class Digits:
    """Handwritten digits with their labels."""

    images: npt.NDArray[np.uint8]
    """uint8 (n, 28, 28), 0 background and 255 ink."""
    labels: npt.NDArray[np.uint8]
    """uint8 (n,), 0–9."""

    def __len__(self) -> int:
        """Return the number of digits."""
        return len(self.labels)


def read_digits(folder: Path, split: str) -> Digits:
    """Read the digits of a split from a folder with MNIST's files.

    Args:
        folder: The folder; the files may be compressed, and hold only some of the digits.
        split: "train" or "test".

    Returns:
        The digits.

    Raises:
        UsageError: A file is missing, truncated or of another kind, or the images do not match the
            labels; the message says which files to put where.
    """
    image_file, label_file = (find_idx_file(folder, name) for name in FILES[split])
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if images.shape[1:] != (SIDE, SIDE):
        raise UsageError(
            f"{image_file}: expected images of 28×28, got {images.shape[1:]}; {FILES_HELP}"
        )
    if len(images) != len(labels):
        raise UsageError(
            f"expected as many labels as images, got {len(images)} images in {image_file} and "
            f"{len(labels)} labels in {label_file}; use files of the same download"
        )
    if len(labels) and labels.max() > 9:
        raise UsageError(f"{label_file}: expected labels 0 to 9, got {labels.max()}; {FILES_HELP}")
    missing = sorted(set(range(10)) - set(labels.tolist()))
    if missing:
        names = ", ".join(map(str, missing))
        raise UsageError(f"{label_file}: no digit {names} among {len(labels)}; all ten are needed")
    return Digits(images, labels)


def find_idx_file(folder: Path, name: str) -> Path:
    """Find a file of MNIST, with or without ``.gz``.

    Args:
        folder: The folder.
        name: Name of the file, without ``.gz``.

    Returns:
        Its path.

    Raises:
        UsageError: There is no such file.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UsageError(f"no {name} or {name}.gz in {folder}; {FILES_HELP}")


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of bytes.

    Args:
        path: The file; ``.gz`` is decompressed.
        dimensions: Number of dimensions that it must have.

    Returns:
        uint8, with the shape that the header states.

    Raises:
        UsageError: The file is damaged, or not an IDX file of bytes.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is truncated or damaged ({error}); {FILES_HELP}") from error
    magic = bytes((0, 0, 8, dimensions))
    header_bytes = 4 + 4 * dimensions
    if content[:4] != magic:
        raise UsageError(
            f"{path}: expected an IDX file of bytes that begins with {magic.hex()}, "
            f"got {content[:4].hex() or 'nothing'}; {FILES_HELP}"
        )
    if len(content) < header_bytes:
        raise UsageError(
            f"{path} is truncated: its header ends after {len(content)} bytes; {FILES_HELP}"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header_bytes])
    expected = header_bytes + int(np.prod(shape, dtype=np.uint64))
    if len(content) != expected:
        raise UsageError(
            f"{path} is truncated or holds more than one file: its header states {expected} bytes, "
            f"got {len(content)}; {FILES_HELP}"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)
