r"""Read plain lists, as mmaction2 and similar tools have them: a path and numbers in each line.

    path label [label …]            a path with the extension of a video
    path frames label [label …]     a path without one: a folder of frames, and how many it has
    path offset frames label        the same, where each line has three numbers
    path name of the class          the label is a name

Paths may contain spaces. The numbers are split off from the end of a line; a class that is called
by name begins behind the extension of the video.
"""

import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowkit.annotations.label_files.columns import find_usual_column
from flowkit.annotations.label_files.rows import FileRows, make_empty_error
from flowkit.annotations.label_files.text_files import open_text
from flowkit.annotations.video_files import VIDEO_EXTENSIONS, is_video
from flowkit.errors import AnnotationError

VIDEO_AND_NAME = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, sorted(VIDEO_EXTENSIONS, key=len, reverse=True)))}))\s+(.*)",
    re.IGNORECASE,
)
"""A path that ends with the extension of a video, and the rest of the line."""


def has_plain_lines(lines: Sequence[str]) -> bool:
    """Return whether most lines look like those of a plain list: a path and what belongs to it.

    Args:
        lines: The first lines of a file, none of them blank.
    """
    fitting = sum(bool(split_numbers(line)[1] or split_name(line)) for line in lines)
    return 2 * fitting >= len(lines)


def is_heading(line: str) -> bool:
    """Return whether a line names columns, such as ``path label``, rather than a video."""
    words = line.split()
    return len(words) > 1 and all(
        any(find_usual_column(role, [word]) for role in ("id", "label")) or word == "frames"
        for word in words
    )


def split_numbers(line: str) -> tuple[str, list[str]]:
    """Split a line into its path and the whole numbers at its end.

    Args:
        line: The line.

    Returns:
        The path, and the numbers as text; an empty list if there are none.
    """
    path, numbers = line.strip(), list[str]()
    while True:
        parts = path.rsplit(None, 1)
        if len(parts) < 2 or not parts[1].isdecimal():
            return path, numbers[::-1]
        path = parts[0]
        numbers.append(parts[1])


def split_name(line: str) -> tuple[str, str] | None:
    """Split a line into the path of a video and the name of a class.

    Args:
        line: The line.

    Returns:
        The path and the name; None if the line is not of this form.
    """
    match = VIDEO_AND_NAME.fullmatch(line.strip())
    return (match[1], match[2]) if match and match[2] else None


def read_plain_lines(path: Path) -> FileRows:
    """Read a plain list.

    Args:
        path: The file.

    Returns:
        The rows, with the columns path, offset, frames and labels as far as the file has them.

    Raises:
        AnnotationError: The file is empty or cannot be read, or a line has no label.
    """
    lines = array("q")
    paths: list[str] = []
    numbers: list[tuple[str, ...]] = []
    cache: dict[str, tuple[str, ...]] = {}  # one object for equal numbers
    with open_text(path) as file:
        for line, text in enumerate(file, start=1):
            if not text.strip() or (not paths and is_heading(text)):
                continue
            video_path, found = split_numbers(text)
            if not found:
                return read_names(path)
            paths.append(video_path)
            numbers.append(cache.setdefault(" ".join(found), tuple(found)))
            lines.append(line)
    if not paths:
        raise make_empty_error(path)
    names = choose_names(path, lines, paths, numbers)
    leading = len(names) - 2  # numbers before the labels: offset and number of frames
    columns: dict[str, list[Any]] = {"path": paths}
    for position in range(leading):
        columns[names[position + 1]] = [values[position] for values in numbers]
    labels = {values: " ".join(values[leading:]) for values in cache.values()}
    columns["labels"] = [labels[values] for values in numbers]
    return make_rows(path, columns, lines)


def choose_names(
    path: Path, lines: Sequence[int], paths: Sequence[str], numbers: Sequence[tuple[str, ...]]
) -> list[str]:
    """Choose what the numbers of a plain list mean.

    Args:
        path: The file, for the message.
        lines: The number of each line.
        paths: The path in each line.
        numbers: The numbers in each line, at least one.

    Returns:
        The names of the columns, from path to labels.

    Raises:
        AnnotationError: Some lines have one number, and others several.
    """
    counts = set(map(len, numbers))
    if counts == {1} or any(map(is_video, paths)):
        return ["path", "labels"]
    if counts == {3}:
        return ["path", "offset", "frames", "labels"]
    if 1 not in counts:
        return ["path", "frames", "labels"]
    line = next(line for line, values in zip(lines, numbers, strict=True) if len(values) == 1)
    raise AnnotationError(
        f"{path}:{line}: expected 'path frames label', as other lines have, got one number; "
        "correct the line"
    )


def read_names(path: Path) -> FileRows:
    """Read lines that have a video and the name of a class.

    Args:
        path: The file.

    Returns:
        The rows, with the columns path and label.

    Raises:
        AnnotationError: A line has no video or no class.
    """
    lines = array("q")
    columns: dict[str, list[Any]] = {"path": [], "label": []}
    with open_text(path) as file:
        for line, text in enumerate(file, start=1):
            pair = split_name(text)
            is_skipped = not text.strip() or (not lines and is_heading(text))
            if pair is None and not is_skipped:
                raise AnnotationError(
                    f"{path}:{line}: expected 'video.mp4 label', got {text.strip()[:80]!r}; "
                    "correct the line"
                )
            for column, value in zip(columns.values(), pair or (), strict=False):
                column.append(value)
            lines.extend([line] if pair else [])
    return make_rows(path, columns, lines)


def make_rows(path: Path, columns: dict[str, list[Any]], lines: Sequence[int]) -> FileRows:
    """Make the rows of a plain list.

    Args:
        path: The file.
        columns: The columns.
        lines: The line of each row.

    Returns:
        The rows.
    """
    kind = f"lines of `{' '.join(columns)}`"
    return FileRows(path=path, kind=kind, columns=columns, lines=lines)
