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
from flowkit.path_text import printable_path

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


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a folder or a link to one; False for a link that is a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def holds_images(folder: Path) -> bool:
    """Return whether a path is a folder with images directly in it; False if it is unreadable."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image(entry.name) and not is_folder(entry) for entry in entries)
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
            names = [e.name for e in entries if is_image(e.name) and not is_folder(e)]
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
    first = min(names)
    texts = DIGITS.split(first.rpartition(".")[0])[::2]
    pattern = re.compile("([0-9]+)".join(map(re.escape, texts)) + r"\.[^.]*")
    numbers: dict[str, tuple[int, ...]] = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            raise make_numbering_error(label, [first, name], "are not of one series")
        numbers[name] = tuple(map(int, match.groups()))
    if len(numbers) == 1:
        return [first]
    varying = [place for place, values in enumerate(zip(*numbers.values(), strict=True))
               if len(set(values)) > 1]  # fmt: skip
    if len(varying) != 1:
        other = next(name for name in sorted(numbers) if name != first)
        problem = f"differ in {len(varying)} numbers" if varying else "have the same number"
        raise make_numbering_error(label, [first, other], problem)
    by_number = sorted((values[varying[0]], name) for name, values in numbers.items())
    check_gaps(by_number, label)
    return [name for _, name in by_number]


def check_formats(names: Iterable[str], label: str) -> None:
    """Raise a VideoError if the names stand for images of several formats."""
    name_by_extension = {name.rpartition(".")[2]: name for name in names}
    name_by_format = {get_image_format(name): name for name in name_by_extension.values()}
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
            count = f"{missing:,} numbers are" if missing > 1 else "1 number is"
            raise VideoError(
                "gap",
                f"{label}: no image between {names} ({count} missing in all); "
                "restore the images, or renumber the others if nothing is missing",
            )


def make_numbering_error(label: str, names: Iterable[str], problem: str) -> VideoError:
    """Make the error for names of which it is unclear how they follow one another."""
    shown = " and ".join(map(printable_path, names))
    advice = "expected names that differ in one number, such as frame1.jpg and frame2.jpg"
    if "flow_" in shown:
        advice += "; `flowkit import` reads folders of frames and flow"
    return VideoError("numbering", f"{label}: {shown} {problem}; {advice}")
