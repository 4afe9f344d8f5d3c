"""Define how the user says what a label file means: columns, class list, file template."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowkit.errors import UsageError

ROLES = {
    "id": "names the video",
    "label": "names its class or classes",
    "subset": "names its subset",
    "start": "start of the label in seconds",
    "end": "end of the label in seconds",
    "start_frame": "start of the label as a frame number, from 0",
    "end_frame": "end of the label as a frame number",
    "fps": "frames per second, which turn frame numbers into seconds",
}
"""What a column can mean, by the name that ``--columns`` uses."""
NO_COLUMN = "-"
"""The value of a role that no column has, although a column of the file has a usual name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelOptions:
    """What the user says about a label file; everything else is recognized."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Column by role (a key of `ROLES`): its name, its number from 1, or ``-`` for none. The role
    ``fps`` may also be a number of frames per second.
    """
    classes: Path | None = None
    """A file that lists the classes, which gives numeric labels their names and orders the classes;
    None if there is none.
    """
    file_template: str | None = None
    """The file of a row, such as ``{id}_color.mp4``; the names in braces are ``id`` and columns.
    None means that the id itself names the file.
    """

    def __post_init__(self) -> None:
        """Check that the roles exist."""
        for role, column in self.columns.items():
            if role not in ROLES:
                matches = difflib.get_close_matches(role, ROLES, 1)
                hint = f"did you mean {matches[0]}? " if matches else ""
                raise UsageError(
                    f"columns: {role!r} is not something that a column can mean; {hint}known: "
                    f"{', '.join(ROLES)}"
                )
            if not isinstance(column, str) or not column:
                raise UsageError(f"columns: expected the name of a column for {role}")


def parse_columns(text: str | None) -> dict[str, str]:
    """Parse the value of ``--columns``.

    Args:
        text: Such as ``id=clip,label=gesture``; None if the option is not given.

    Returns:
        Columns by role.

    Raises:
        UsageError: A part has no ``=``, or a role is given twice.
    """
    columns: dict[str, str] = {}
    for part in (text or "").split(","):
        role, equals, column = part.partition("=")
        role, column = role.strip(), column.strip()
        if not part.strip():
            continue
        if not equals or not column:
            raise UsageError(f"expected --columns ROLE=COLUMN,… such as id=clip, got {part!r}")
        if role in columns:
            raise UsageError(f"--columns names a column for {role} twice; give one")
        columns[role] = column
    return columns
