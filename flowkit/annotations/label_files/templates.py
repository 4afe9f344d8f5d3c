"""Derive the file of a row from a template such as ``{id}_color.mp4``."""

import string
from collections.abc import Sequence

from flowkit.annotations.label_files.columns import Roles
from flowkit.annotations.label_files.rows import FileRows, to_texts
from flowkit.errors import UsageError

KINETICS_TEMPLATE = "{id}_{%s:0>6}_{%s:0>6}"
"""The names of Kinetics' clips: the video, and start and end in whole seconds."""


def make_file_names(
    file: FileRows, roles: Roles, ids: Sequence[str], template: str | None
) -> Sequence[str]:
    """Return the path or name of the file of each row.

    Args:
        file: The rows.
        roles: The roles of the columns.
        ids: The id of each row.
        template: The template. None means the ids themselves, or for the columns of Kinetics the
            names of its clips.

    Returns:
        One name for each row.

    Raises:
        UsageError: The template is malformed, or names a column that the file does not have.
    """
    if template is None:
        if not roles.are_clips:
            return ids
        template = KINETICS_TEMPLATE % (roles.start, roles.end)
    fields = parse_template(template)
    columns: dict[str, Sequence[str]] = {"id": ids}
    for name in fields:
        if name != "id" or name in file.columns:
            if name not in file.columns:
                raise UsageError(
                    f"--file-template {template!r}: {file.path} has no column {name!r}; its "
                    f"columns are {file.describe_columns()}"
                )
            columns[name] = columns["id"] if name == "id" else to_texts(file.columns[name])
    used = [columns[name] for name in fields]
    return [
        template.format(**dict(zip(fields, values, strict=True)))
        for values in zip(*used, strict=True)
    ]


def parse_template(template: str) -> list[str]:
    """Return the names in the braces of a template.

    Args:
        template: The template.

    Returns:
        The names, each once.

    Raises:
        UsageError: A brace is not closed, a name is not a simple one, or there is none.
    """
    try:
        parsed = list(string.Formatter().parse(template))
        names = [name for _, name, _, _ in parsed if name is not None]
        template.format(**dict.fromkeys(names, "x"))
    except (ValueError, KeyError, IndexError, AttributeError):
        names = []
    if not names or any(not name or set(name) & set(".[]{}!") for name in names):
        raise UsageError(
            "expected --file-template with columns in braces such as '{id}_color.mp4', got "
            f"{template!r}"
        )
    return list(dict.fromkeys(names))
