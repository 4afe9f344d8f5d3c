"""Name the group of each video, such as its person or source video, whose clips belong together."""

import re
from collections.abc import Iterable, Sequence

from flowkit.annotations.table import Annotation
from flowkit.errors import UsageError

MAX_LISTED = 5
"""How many columns a message lists."""


def find_groups(
    annotations: Sequence[Annotation], group_by: str | None
) -> dict[str, tuple[int, str]]:
    """Find the groups of videos.

    Args:
        annotations: The videos.
        group_by: A column of the labels, or a pattern; None for no groups.

    Returns:
        By the id of each video: (1, name of its group), or (0, id) for a video that is in none.

    Raises:
        UsageError: No video is in a group, or the pattern is not a regular expression.
    """
    if group_by is None:
        return {annotation.id: (0, annotation.id) for annotation in annotations}
    columns = {name for annotation in annotations for name in annotation.attributes}
    if group_by in columns:
        names = {a.id: a.attributes.get(group_by) for a in annotations}
    else:
        try:
            pattern = re.compile(group_by)
        except re.error as error:
            raise UsageError(
                f"--group-by '{group_by}' is no column ({describe_names(columns)}) and no regular "
                f"expression: {error}; quote it for the shell, as in --group-by '_g(\\d+)_'"
            ) from None
        matches = {annotation.id: pattern.search(annotation.id) for annotation in annotations}
        # The first group of the pattern, or all of it if it has none.
        names = {id: match and match[min(1, pattern.groups)] for id, match in matches.items()}
    if not any(names.values()):
        example = f", such as {annotations[0].id!r}" if annotations else ""
        raise UsageError(
            f"--group-by '{group_by}' is no column ({describe_names(columns)}) and, as a pattern, "
            f"is found in none of the {len(annotations):,} ids{example}"
        )
    return {id: (1, name) if name else (0, id) for id, name in names.items()}


def describe_names(names: Iterable[str]) -> str:
    """Describe the columns of the labels."""
    listed = sorted(names)
    more = ", …" if len(listed) > MAX_LISTED else ""
    return f"columns: {', '.join(listed[:MAX_LISTED])}{more}" if listed else "the labels have none"
