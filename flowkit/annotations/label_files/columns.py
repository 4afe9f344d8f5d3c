"""Recognize what the columns of a label file mean, by their names or as the user says."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowkit.annotations.label_files.options import NO_COLUMN, ROLES
from flowkit.annotations.label_files.rows import KEY_COLUMN, FileRows
from flowkit.annotations.video_files import is_video
from flowkit.errors import AnnotationError, UsageError

USUAL_NAMES = {
    "id": (
        "filename", "path", "filepath", "videopath", "file", "video", "videoname", "videoid",
        "vidname", "vid", "youtubeid", "id", "name",
    ),
    "label": (
        "label", "labels", "class", "classname", "category", "categories", "action", "actions",
        "classes", "annotations", "labelid", "classid",
    ),
    "subset": ("subset", "split", "set"),
    "start": ("start", "starttime", "starts", "startsec", "startseconds", "tstart", "timestart"),
    "end": ("end", "endtime", "ends", "endsec", "endseconds", "tend", "timeend"),
    "start_frame": ("startframe", "framestart"),
    "end_frame": ("endframe", "frameend"),
    "fps": ("fps", "framerate"),
}  # fmt: skip
"""Usual names of columns by role, without case and separators; the first that a file has is used.
An ``id`` may be a mere row number, so it counts only if no column names a file.
"""
TEMPLATE, PLACEHOLDERS = "template", "placeholders"
"""Columns of Something-Something: the class with its objects in brackets, and the objects."""
SEGMENT = "segment"
"""A column with pairs of a start and an end in seconds."""
PLURAL = frozenset({"labels", "classes", "categories", "actions"})
"""Names of columns whose text may list several labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Which column of a file has which role; None for a role that no column has."""

    id: str
    """Column that names the videos."""
    label: str | None
    """Column with the labels."""
    subset: str | None = None
    """Column with the subsets."""
    start: str | None = None
    """Column with the start of a label."""
    end: str | None = None
    """Column with the end of a label."""
    in_frames: bool = False
    """Whether start and end are frame numbers."""
    segment: str | None = None
    """Column with pairs of start and end in seconds."""
    fps: str | float | None = None
    """Column with the frame rates, or the frame rate."""
    are_clips: bool = False
    """Whether start and end say which clip of a longer video a file is, as those of Kinetics do."""
    others: tuple[str, ...] = ()
    """All other columns, which become attributes."""

    @property
    def has_times(self) -> bool:
        """Return whether labels have a start and an end."""
        return not self.are_clips and (self.start is not None or self.segment is not None)


KINETICS = ("youtubeid", "timestart", "timeend")
"""Names of the columns of Kinetics for id, start and end, without case and separators."""


def normalize_name(name: str) -> str:
    """Return the name of a column in lower case and without separators."""
    return re.sub(r"[\W_]", "", name).lower()


def find_usual_column(role: str, names: Sequence[str]) -> str | None:
    """Find the column that has a usual name for a role.

    Args:
        role: A key of `USUAL_NAMES`.
        names: The names of the columns.

    Returns:
        The column whose name comes first in `USUAL_NAMES`; None if there is none.
    """
    by_normal_name: dict[str, str] = {}
    for name in names:
        by_normal_name.setdefault(normalize_name(name), name)
    return next(
        (by_normal_name[usual] for usual in USUAL_NAMES[role] if usual in by_normal_name), None
    )


def is_header(
    first: Sequence[str], others: Sequence[Sequence[str]], mapping: Mapping[str, str]
) -> bool:
    """Return whether the first row of a file names the columns.

    It does if one of its values is a usual name of the videos' column, or a name that the user
    gave, and does not if the user gave the number of a column. Otherwise, one value is a video, and
    three or more are a header. Two values are a video and its label if the first looks like a file
    or a number, or the second is a number or the label of another row.

    Args:
        first: The values of the first row.
        others: Some of the other rows.
        mapping: Columns by role as the user gave them.
    """
    given = set(mapping.values()) - {NO_COLUMN}
    fps = mapping.get("fps", "")
    if is_number(fps) and not (fps.isdecimal() and int(fps) <= len(first)):
        given.discard(fps)  # it is a frame rate, not the number of a column
    # A number that the user gave is that of a column, although a value may be equal to it.
    names = {column for column in given if not column.isdecimal()}
    if names & set(first) or find_usual_column("id", first):
        return True
    if given - names or len(first) == 1:
        return False
    if len(first) > 2:
        return True
    looks_like_file = is_video(first[0]) or "/" in first[0] or first[0].isdecimal()
    labels = {row[1].strip() for row in others if len(row) == 2}
    return not (looks_like_file or first[1].isdecimal() or first[1] in labels)


def choose_roles(rows: FileRows, mapping: Mapping[str, str], *, needs_label: bool) -> Roles:
    """Choose the column of each role.

    Args:
        rows: The rows of a file.
        mapping: Columns by role as the user gave them.
        needs_label: Whether a label column that the user names must be there.

    Returns:
        The roles.

    Raises:
        AnnotationError: No column names the videos, or none has labels although other columns are
            there; the message lists the columns.
        UsageError: A column that the user names is not there.
    """
    names = list(rows.columns)
    found: dict[str, str | None] = {
        role: find_given_column(rows, role, column, needs_label=needs_label)
        for role, column in mapping.items()
    }
    for role in ROLES:
        if role in mapping:
            continue
        if role in rows.roles:
            found[role] = rows.roles[role]
            continue
        free = [name for name in names if name not in found.values()]
        if rows.has_header:
            found[role] = find_usual_column(role, free)
        elif len(names) == 2 and role in ("id", "label"):
            found[role] = next(iter(free), None)
        else:
            found[role] = "1" if role == "id" and "1" in free else None
    if found["id"] is None:
        raise AnnotationError(f"{rows.path}: no column names the videos. {explain_columns(rows)}")
    if "label" not in mapping and {TEMPLATE, PLACEHOLDERS} <= set(names):
        found["label"] = TEMPLATE
    in_frames = choose_times(rows, found, mapping)
    used = {KEY_COLUMN, *found.values()}
    others = tuple(name for name in names if name not in used)
    is_known = "label" in mapping or found["label"] is not None
    if not is_known and others and not set(map(normalize_name, others)) <= {"frames", "offset"}:
        raise AnnotationError(f"{rows.path}: no column has labels. {explain_columns(rows)}")
    bounds = (found["id"], found["start"] or "", found["end"] or "")
    are_clips = tuple(map(normalize_name, bounds)) == KINETICS
    fps: str | float | None = found["fps"]
    if fps is None and is_number(mapping.get("fps", "")):
        fps = float(mapping["fps"])
    return Roles(
        id=found["id"], label=found["label"], subset=found["subset"], start=found["start"],
        end=found["end"], in_frames=in_frames, segment=found["segment"], fps=fps,
        are_clips=are_clips, others=others,
    )  # fmt: skip


def choose_times(rows: FileRows, found: dict[str, str | None], mapping: Mapping[str, str]) -> bool:
    """Choose the columns that say when a label begins and ends: ``start`` and ``end``, or SEGMENT.

    Args:
        rows: The rows of a file.
        found: Columns by role, which are changed: ``start`` and ``end`` become those that are
            used, ``start_frame`` and ``end_frame`` None, and ``segment`` is added.
        mapping: Columns by role as the user gave them.

    Returns:
        Whether start and end are frame numbers.

    Raises:
        UsageError: The user names a start without an end, or an end without a start.
        AnnotationError: Times are frame numbers, but no frame rate is known.
    """
    for start, end in (("start", "end"), ("start_frame", "end_frame")):
        if (found[start] is None) != (found[end] is None):
            given = start if found[start] else end
            if mapping.get(given, NO_COLUMN) != NO_COLUMN:
                raise UsageError(
                    f"--columns names {given} without the other; give {start} and {end}"
                )
            found[start] = found[end] = None
    if found["start"] is None:
        found["start"], found["end"] = found["start_frame"], found["end_frame"]
        in_frames = found["start"] is not None
    else:
        in_frames = all("frame" in normalize_name(found[role] or "") for role in ("start", "end"))
    found["start_frame"] = found["end_frame"] = None
    if in_frames and found["fps"] is None and not is_number(mapping.get("fps", "")):
        raise AnnotationError(
            f"{rows.path}: {found['start']} and {found['end']} are frame numbers, and no column "
            "has the frame rate; give it with --columns fps=25 (or fps=COLUMN), or leave the times "
            "out with --columns start_frame=-,end_frame=-"
        )
    has_segment = SEGMENT in rows.columns and found["start"] is None
    found["segment"] = SEGMENT if has_segment else None
    return in_frames


def find_given_column(
    rows: FileRows, role: str, column: str, *, needs_label: bool = True
) -> str | None:
    """Find a column that the user names.

    Args:
        rows: The rows of a file.
        role: The role.
        column: Name of the column, its number from 1, or ``-``.
        needs_label: Whether the column of the role label must be there.

    Returns:
        Name of the column; None for ``-``, and for a frame rate that is a number.

    Raises:
        UsageError: There is no such column.
    """
    names = list(rows.columns)
    if column in rows.columns:
        return column
    if column == NO_COLUMN or (role == "fps" and is_number(column)):
        return None
    same = [name for name in names if normalize_name(name) == normalize_name(column)]
    if len(same) == 1:
        return same[0]
    if column.isdecimal() and 1 <= int(column) <= len(names):
        return names[int(column) - 1]
    if role == "label" and not needs_label:
        return None
    matches = difflib.get_close_matches(column, names, 1)
    hint = f"; did you mean {matches[0]!r}?" if matches else ""
    raise UsageError(
        f"{rows.path}: no column {column!r} for {role}; its columns are "
        f"{rows.describe_columns()}{hint}"
    )


def explain_columns(rows: FileRows) -> str:
    """Explain how to name the columns of a file: the end of an error message.

    Args:
        rows: The rows of the file.
    """
    text = (
        f"Its columns are {rows.describe_columns()}. Name those that are meant, such as --columns "
        "id=COLUMN,label=COLUMN (label=- if there are no labels)"
    )
    if rows.lines is not None:
        text += "; if the first line is not a header, by number: --columns id=1,label=2"
    return text


def is_number(text: str) -> bool:
    """Return whether a text is a positive number."""
    return bool(re.fullmatch(r"\d+(\.\d+)?", text)) and float(text) > 0
