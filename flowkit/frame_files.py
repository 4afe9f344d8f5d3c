"""Find and order the image files of a frame folder: a folder of images that is read as a video.

The frames are the images directly in the folder. Their names differ in one number only, as
``frame1.jpg``, ``frame2.jpg``, …, ``frame10.jpg`` do, and the number decides the order, with or
without leading zeros. It may start anywhere and must not have gaps. Hidden files and files of
other types, such as ``Thumbs.db`` and ``labels.txt``, are ignored.
"""

import os
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from flowkit.errors import VideoError
from flowkit.path_text import path_to_text, printable_path

IMAGE_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WebP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Format of an image by the extension of its file, in lower case."""
DIGITS = re.compile(r"([0-9]+)")


def is_image(name: str) -> bool:
    """Return whether a file name is that of a visible image, in upper or lower case."""
    return get_image_format(name) is not None and not name.startswith(".")


def get_image_format(name: str) -> str | None:
    """Return the image format that the extension of a file name stands for, or None."""
    _, dot, extension = name.rpartition(".")
    return IMAGE_FORMATS.get(dot + extension.lower())


def holds_images(folder: Path) -> bool:
    """Return whether a path is a folder with images directly in it; False if it is unreadable."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image(entry.name) and not entry.is_dir() for entry in entries)
    except OSError:
        return False


def list_frames(folder: Path) -> list[str]:
    """List the image files of a frame folder in the order of their frames.

    Args:
        folder: The folder.

    Returns:
        The file names as the file system has them; the files are ``folder / name``.

    Raises:
        VideoError: ``unreadable``, ``missing``, ``empty`` (no image), or what `order_frames`
            raises. The message names the folder and the files.
    """
    label = printable_path(folder.name or folder)
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if is_image(e.name) and not e.is_dir()]
    except FileNotFoundError as error:
        raise VideoError("missing", f"{label}: no such folder") from error
    except OSError as error:
        reason = f"the folder cannot be listed ({error.strerror})"
        raise VideoError("unreadable", f"{label}: {reason}") from error
    if not names:
        expected = ", ".join(extension[1:] for extension in IMAGE_FORMATS)
        raise VideoError("empty", f"{label}: the folder holds no image ({expected})")
    return order_frames(names, label)


def order_frames(names: Sequence[str], label: str) -> list[str]:
    """Order image files by their number, and check that they are the frames of one video.

    Args:
        names: At least one name of an image file, in any order.
        label: Name of the folder, for error messages.

    Returns:
        The names, by number.

    Raises:
        VideoError: ``mixed-formats``, ``numbering`` (the names do not differ in one number, or two
            have the same) or ``gap`` (numbers are missing).
    """
    check_formats(names, label)
    parts = {name: DIGITS.split(path_to_text(name).rpartition(".")[0]) for name in sorted(names)}
    first = min(parts)
    # Of the parts of a name, those at odd places are numbers.
    places = range(1, len(parts[first]), 2)
    for name in parts:
        if parts[name][::2] != parts[first][::2]:
            raise make_numbering_error(label, [first, name], "are not of one series")
    numbers = {name: tuple(int(parts[name][place]) for place in places) for name in parts}
    columns = list(zip(*numbers.values(), strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) > 1:
        # Two that differ in the first place, and one that differs from them in another.
        other = next(n for n in numbers if numbers[n][varying[0]] != numbers[first][varying[0]])
        raise make_numbering_error(
            label, [first, other], f"and others differ in {len(varying)} numbers"
        )
    if len(names) > 1 and not varying:
        raise make_numbering_error(label, list(parts)[:2], "have the same number")
    if not varying:
        return list(names)
    by_number = sorted(parts, key=lambda name: numbers[name][varying[0]])
    check_gaps([(numbers[name][varying[0]], name) for name in by_number], label)
    return by_number


def check_formats(names: Iterable[str], label: str) -> None:
    """Raise a VideoError if the names stand for images of several formats."""
    name_by_format: dict[str | None, str] = {}
    for name in names:
        name_by_format.setdefault(get_image_format(name), name)
    if len(name_by_format) > 1:
        shown = " and ".join(sorted(map(printable_path, name_by_format.values())))
        raise VideoError(
            "mixed-formats",
            f"{label}: {shown} are of different formats; expected images of one format",
        )


def check_gaps(numbered: Sequence[tuple[int, str]], label: str) -> None:
    """Raise a VideoError if numbers are missing, or occur twice.

    Args:
        numbered: Number and name of each file, by number.
        label: Name of the folder, for error messages.
    """
    for (number, name), (next_number, next_name) in pairwise(numbered):
        if next_number == number:
            raise make_numbering_error(label, [name, next_name], "have the same number")
        if next_number > number + 1:
            missing = numbered[-1][0] - numbered[0][0] + 1 - len({n for n, _ in numbered})
            names = f"{printable_path(name)} and {printable_path(next_name)}"
            raise VideoError(
                "gap",
                f"{label}: no image between {names} ({missing:,} numbers are missing in all); "
                "restore the images, or renumber the others if nothing is missing",
            )


def make_numbering_error(label: str, names: Iterable[str], problem: str) -> VideoError:
    """Make the error for names of which it is unclear how they follow one another."""
    shown = " and ".join(map(printable_path, names))
    advice = "expected names that differ in one number, such as frame1.jpg and frame2.jpg"
    return VideoError("numbering", f"{label}: {shown} {problem}; {advice}")
