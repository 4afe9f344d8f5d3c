r"""Read plain lists, as mmaction2 and similar tools have them: a path and numbers in each line.

    path label [label …]            a path with the extension of a video
    path frames label [label …]     a path without one: a folder of frames, and how many it has
    path offset frames label        the same, where each line has three numbers
    path name of the class          the label is a name

Paths may contain spaces. The numbers are split off from the end of a line; a class that is called
by name begins behind the extension of the video.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from flowkit.annotations.label_files.rows import FileRows, LineColumns, make_empty_error
from flowkit.annotations.label_files.text_files import open_text
from flowkit.annotations.video_files import VIDEO_EXTENSIONS, is_video
from flowkit.errors import AnnotationError

NUMBERS = re.compile(r"(.*?\S)((?:\s+\d+)+)\s*")
"""A path, and the whole numbers at the end of a line."""
VIDEO_AND_NAME = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, sorted(VIDEO_EXTENSIONS, key=len, reverse=True)))}))\s+(.*)",
    re.IGNORECASE,
)
"""A path that ends with the extension of a video, and the rest of the line."""


def has_plain_lines(lines: Sequence[str]) -> bool:
    """Return whether lines look like those of a plain list: a path and what belongs to it.

    Args:
        lines: The first lines of a file, none of them blank.
    """
    return all(split_numbers(line)[1] or split_name(line) for line in lines)


def split_numbers(line: str) -> tuple[str, list[str]]:
    """Split a line into its path and the whole numbers at its end.

    Args:
        line: The line.

    Returns:
        The path, and the numbers as text; an empty list if there are none.
    """
    match = NUMBERS.fullmatch(line.strip())
    return (match[1], match[2].split()) if match else (line.strip(), [])


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
    with open_text(path) as file:
        numbered = [(n, line) for n, line in enumerate(file, start=1) if line.strip()]
    if not numbered:
        raise make_empty_error(path)
    split = [split_numbers(line) for _, line in numbered]
    if not all(numbers for _, numbers in split):
        return read_names(path, numbered)
    has_frames = not any(is_video(name) for name, _ in split)
    counts = {len(numbers) for _, numbers in split}
    if not has_frames or counts == {1}:
        names, skipped = ["path", "labels"], 0
    elif counts == {3}:
        names, skipped = ["path", "offset", "frames", "labels"], 2
    elif 1 not in counts:
        names, skipped = ["path", "frames", "labels"], 1
    else:
        line = next(
            n for (n, _), (_, numbers) in zip(numbered, split, strict=True) if len(numbers) == 1
        )
        raise AnnotationError(
            f"{path}:{line}: expected 'path frames label', as in other lines, got one number; "
            "correct the line"
        )
    rows = [
        [name, *numbers[:skipped], " ".join(numbers[skipped:])] for name, numbers in split
    ]
    return make_rows(path, names, [line for line, _ in numbered], rows)


def read_names(path: Path, numbered: Sequence[tuple[int, str]]) -> FileRows:
    """Read lines that have a video and the name of a class.

    Args:
        path: The file, for messages.
        numbered: Line numbers and lines.

    Returns:
        The rows, with the columns path and label.

    Raises:
        AnnotationError: A line has no video or no class.
    """
    rows = []
    for line, text in numbered:
        pair = split_name(text)
        if pair is None:
            raise AnnotationError(
                f"{path}:{line}: expected 'video.mp4 label', got {text.strip()[:80]!r}; correct "
                "the line"
            )
        rows.append(list(pair))
    return make_rows(path, ["path", "label"], [line for line, _ in numbered], rows)


def make_rows(
    path: Path, names: Sequence[str], lines: Sequence[int], rows: Sequence[Sequence[str]]
) -> FileRows:
    """Make the rows of a plain list.

    Args:
        path: The file.
        names: Names of the columns.
        lines: The line of each row.
        rows: The values of each row.

    Returns:
        The rows.
    """
    columns = LineColumns(len(names))
    columns.extend(rows)
    columns.lines.extend(lines)
    kind = f"lines of `{' '.join(names)}`"
    return FileRows(path=path, kind=kind, columns=columns.name(names), lines=columns.lines)
