"""Read the labels of one row of a label file."""

from collections.abc import Callable
from functools import partial
from typing import Any

from flowkit.annotations.label_files.cells import (
    ClassNamer,
    check_interval,
    parse_time,
    read_pair,
    read_segments,
    split_labels,
)
from flowkit.annotations.label_files.columns import Roles
from flowkit.annotations.label_files.rows import FileRows, to_text
from flowkit.annotations.table import Label
from flowkit.errors import AnnotationError


def make_label_reader(
    file: FileRows, roles: Roles, namer: ClassNamer
) -> Callable[[int], tuple[Label, ...]]:
    """Make the function that reads the labels of a row.

    Args:
        file: The rows.
        roles: The roles of the columns.
        namer: Names the classes.

    Returns:
        A function from the number of a row to its labels; equal labels of whole videos are one
        object. It raises an AnnotationError for a malformed row.
    """
    if roles.label is None:
        return lambda row: ()
    column, values = roles.label, file.columns[roles.label]
    cache: dict[Any, tuple[Label, ...]] = {}

    def read_whole(row: int) -> tuple[Label, ...]:
        value = values[row]
        if isinstance(value, list) and not (value and isinstance(value[0], dict)):
            value = tuple(map(to_text, value))
        if isinstance(value, list | dict):  # labels that are objects
            locate, get_fps = partial(file.locate, row), partial(read_fps, file, roles, row)
            return read_segments(value, namer.name, locate, get_fps)
        labels = cache.get(value)
        if labels is None:
            texts = dict.fromkeys(split_labels(value, column))
            names = (namer.name(text, partial(file.locate, row)) for text in texts)
            labels = cache[value] = tuple(map(Label, dict.fromkeys(names)))
        return labels

    if not roles.has_times:
        return read_whole
    read_interval = make_interval_reader(file, roles)

    def read_timed(row: int) -> tuple[Label, ...]:
        labels, interval = read_whole(row), read_interval(row)
        if interval is None:
            return labels
        return tuple(
            label if label.start is not None else Label(label.name, *interval) for label in labels
        )

    return read_timed


def make_interval_reader(
    file: FileRows, roles: Roles
) -> Callable[[int], tuple[float, float] | None]:
    """Make the function that reads when the labels of a row begin and end.

    Args:
        file: The rows.
        roles: The roles of the columns, which include times.

    Returns:
        A function from the number of a row to start and end in seconds, or None.
    """
    if roles.segment is not None:
        segments = file.columns[roles.segment]

        def read_segment(row: int) -> tuple[float, float] | None:
            locate = partial(file.locate, row)
            return check_interval(*read_pair(segments[row], locate), locate)

        return read_segment
    assert roles.start is not None and roles.end is not None
    start_name, end_name = roles.start, roles.end
    starts, ends = file.columns[start_name], file.columns[end_name]

    def read_interval(row: int) -> tuple[float, float] | None:
        locate = partial(file.locate, row)
        start = parse_time(starts[row], start_name, locate)
        end = parse_time(ends[row], end_name, locate)
        interval = check_interval(start, end, locate)
        if interval is None or not roles.in_frames:
            return interval
        fps = read_fps(file, roles, row)
        return interval[0] / fps, interval[1] / fps

    return read_interval


def read_fps(file: FileRows, roles: Roles, row: int) -> float:
    """Return the frame rate that turns the frame numbers of a row into seconds.

    Args:
        file: The rows.
        roles: The roles of the columns.
        row: The row.

    Raises:
        AnnotationError: The column has no frame rate there, or no column has frame rates.
    """
    if roles.fps is None:
        raise AnnotationError(
            f"{file.locate(row)}: start and end are frame numbers, and no frame rate is known; "
            "give it with --columns fps=25 (or fps=COLUMN)"
        )
    if not isinstance(roles.fps, str):
        return roles.fps
    text = to_text(file.columns[roles.fps][row])
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps < float("inf"):
        raise AnnotationError(
            f"{file.locate(row)}: expected frames per second in {roles.fps!r}, got {text!r}; "
            "correct it"
        )
    return fps
