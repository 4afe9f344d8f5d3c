"""Derive the file of a row from a template such as ``{id}_color.mp4``."""

import string
from collections.abc import Sequence

from flowkit.annotations.label_files.columns import Roles
from flowkit.annotations.label_files.rows import FileRows, to_texts
from flowkit.errors import UsageError

KINETICS_TEMPLATE = "{0}_{1:0>6}_{2:0>6}"
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
        assert roles.start is not None and roles.end is not None  # see `Roles.are_clips`
        fields, numbered = ["id", roles.start, roles.end], KINETICS_TEMPLATE
    else:
        fields, numbered = parse_template(template)
    columns: dict[str, Sequence[str]] = {"id": ids}
    for name in fields:
        if name == "id":
            continue
        if name not in file.columns:
            raise UsageError(
                f"--file-template {template!r}: {file.path} has no column {name!r}; its columns "
                f"are {file.describe_columns()}"
            )
        columns[name] = to_texts(file.columns[name])
    used = [columns[name] for name in fields]
    return [numbered.format(*values) for values in zip(*used, strict=True)]


def parse_template(template: str) -> tuple[list[str], str]:
    """Find the columns that a template names.

    `str.format` would take ``{1}`` and ``{time.start}`` for something other than a column, so the
    columns are numbered.

    Args:
        template: The template.

    Returns:
        The names in the braces, each once, and the template with their positions in place of them.

    Raises:
        UsageError: A brace is not closed, a format is malformed, or there is no name.
    """
    names: list[str] = []
    numbered = ""
    try:
        for text, name, spec, conversion in string.Formatter().parse(template):
            numbered += text.replace("{", "{{").replace("}", "}}")
            if name is None:
                continue
            if not name or "{" in name or "{" in (spec or ""):
                raise ValueError("no name, or braces in braces")
            if name not in names:
                names.append(name)
            suffix = f"!{conversion}" if conversion else ""
            numbered += f"{{{names.index(name)}{suffix}:{spec}}}"
        numbered.format(*("x" for _ in names))
    except ValueError:
        names = []
    if not names:
        raise UsageError(
            "expected --file-template with columns in braces such as '{id}_color.mp4', got "
            f"{template!r}"
        )
    return names, numbered
