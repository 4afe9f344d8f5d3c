"""Name the group of each video, such as its person or source video, whose clips belong together."""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flowkit.errors import UsageError

if TYPE_CHECKING:
    from flowkit.annotations.table import Annotation

MAX_LISTED = 5
"""How many columns a message lists."""


def make_grouping(
    annotations: "Iterable[Annotation]", group_by: str | None
) -> "Callable[[Annotation], tuple[int, str]]":
    """Return the function that names the group of a video.

    Args:
        annotations: The videos.
        group_by: A column of the labels, or a pattern; None for no groups.

    Returns:
        (annotation) → (1, name of the group), or (0, id) for a video that is in none.

    Raises:
        UsageError: No video is in a group, or the pattern is not a regular expression.
    """
    if group_by is None:
        return lambda annotation: (0, annotation.id)
    annotations = list(annotations)
    columns = {name for annotation in annotations for name in annotation.attributes}
    if group_by in columns:
        find_name = find_in_column(group_by)
    else:
        try:
            find_name = find_in_id(re.compile(group_by))
        except re.error as error:
            raise UsageError(
                f"--group-by '{group_by}' is no column ({describe_names(columns)}) and no regular "
                f"expression: {error}; quote it for the shell, as in --group-by '_g(\\d+)_'"
            ) from None
    if not any(find_name(annotation) for annotation in annotations):
        example = f", such as {annotations[0].id!r}" if annotations else ""
        raise UsageError(
            f"--group-by '{group_by}' is no column ({describe_names(columns)}) and, as a pattern, "
            f"is found in none of the {len(annotations):,} ids{example}"
        )

    def group_of(annotation: "Annotation") -> tuple[int, str]:
        name = find_name(annotation)
        return (1, name) if name else (0, annotation.id)

    return group_of


def find_in_column(column: str) -> "Callable[[Annotation], str]":
    """Return the function that reads a column of a video, "" where it has none."""
    return lambda annotation: annotation.attributes.get(column) or ""


def find_in_id(pattern: re.Pattern[str]) -> "Callable[[Annotation], str]":
    """Return the function that finds a pattern in a video's id, "" where it does not match."""

    def find_name(annotation: "Annotation") -> str:
        match = pattern.search(annotation.id)
        return (match[min(1, pattern.groups)] or "") if match else ""

    return find_name


def describe_names(names: Iterable[str]) -> str:
    """Describe the columns of the labels."""
    listed = sorted(names)
    more = ", …" if len(listed) > MAX_LISTED else ""
    return f"columns: {', '.join(listed[:MAX_LISTED])}{more}" if listed else "the labels have none"
