"""Read JSON and JSON lines.

    [{"id": "a", "label": "jump"}, …]                     a list of objects
    {"a": {"label": "jump"}, …}                           an object for each video
    {"a": "jump", "b": ["jump", "run"], …}                the labels of each video
    {"database": {"a": {"annotations": […]}, …}}          ActivityNet
    {"version": 1, "videos": [{…}, …]}                    a list beside other values
    {"id": "a", "label": "jump"}⏎{…}⏎                     JSON lines
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowkit.annotations.label_files.rows import (
    KEY_COLUMN,
    ColumnBuilder,
    FileRows,
    LineColumns,
    make_empty_error,
)
from flowkit.annotations.label_files.text_files import open_text, read_all
from flowkit.errors import AnnotationError

DATABASE = "database"
"""The key of ActivityNet's files that has the videos."""


class RepeatedKeyError(ValueError):
    """An object has the same key twice, of which a dictionary would keep only one."""


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a dictionary from the pairs of a JSON object, each key once.

    Args:
        pairs: Keys and values.

    Returns:
        The dictionary.

    Raises:
        RepeatedKeyError: A key is there twice.
    """
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise RepeatedKeyError(f"the key {repeated!r} twice in one object")
    return values


def parse_json(location: str, text: str) -> Any:
    """Parse JSON.

    Args:
        location: ``file`` or ``file:line``, for messages.
        text: The text.

    Returns:
        The value.

    Raises:
        AnnotationError: The text is not JSON, or an object has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=build_object)
    except json.JSONDecodeError as error:
        line = "" if location.rpartition(":")[2].isdigit() else f":{error.lineno}"
        raise AnnotationError(
            f"{location}{line}: expected JSON, got {error.msg} at column {error.colno}; correct it"
        ) from None
    except (RepeatedKeyError, RecursionError) as error:
        raise AnnotationError(f"{location}: expected JSON, got {error}; correct it") from None


def read_json(path: Path) -> FileRows:
    """Read a JSON file.

    Args:
        path: The file.

    Returns:
        The rows.

    Raises:
        AnnotationError: The file is empty or cannot be read, is not JSON, or has no list of videos.
    """
    text = read_all(path)
    if not text.strip():
        raise make_empty_error(path)
    content = parse_json(str(path), text)
    del text
    if isinstance(content, dict):
        return read_mapping(path, content)
    if not isinstance(content, list):
        raise AnnotationError(
            f"{path}: expected a list or an object of videos, got {str(content)[:40]!r}"
        )
    return read_list(path, content)


def read_list(path: Path, entries: list[Any]) -> FileRows:
    """Read a list of objects, of pairs or of names. The list is emptied, to free its memory.

    Args:
        path: The file, for messages.
        entries: The list.

    Returns:
        The rows.

    Raises:
        AnnotationError: The list is empty, or its entries are of several kinds.
    """
    if not entries:
        raise make_empty_error(path)
    if isinstance(entries[0], dict):
        builder = ColumnBuilder()
        for number in range(len(entries)):
            entry, entries[number] = entries[number], None
            if not isinstance(entry, dict):
                raise make_entry_error(path, number, "an object, as the first entry is", entry)
            builder.add(entry)
        return FileRows(path=path, kind="a JSON list", columns=builder.columns)
    rows = [entry if isinstance(entry, list) else [entry] for entry in entries]
    width = len(rows[0])
    for number, row in enumerate(rows):
        if len(row) != width or any(isinstance(value, dict | list) for value in row):
            raise make_entry_error(path, number, "an object, or a name and a label", row)
    columns = {str(n + 1): [row[n] for row in rows] for n in range(width)}
    return FileRows(path=path, kind="a JSON list", columns=columns, has_header=False)


def make_entry_error(path: Path, number: int, expected: str, actual: Any) -> AnnotationError:
    """Make the error for an entry of a list that is not like the others.

    Args:
        path: The file.
        number: Number of the entry, from 0.
        expected: What was expected.
        actual: The entry.

    Returns:
        The error, to be raised.
    """
    return AnnotationError(
        f"{path}: entry {number + 1}: expected {expected}, got {str(actual)[:60]!r}; correct it"
    )


def read_mapping(path: Path, content: dict[str, Any]) -> FileRows:
    """Read an object, whose keys are videos or beside the list of videos.

    Args:
        path: The file, for messages.
        content: The object.

    Returns:
        The rows.

    Raises:
        AnnotationError: It has no list of videos.
    """
    if not content:
        raise make_empty_error(path)
    wrapped = [key for key, value in content.items() if is_list_of_objects(value)]
    if isinstance(content.get(DATABASE), dict):
        rows = read_entries(path, content[DATABASE])
        rows.kind = "JSON of ActivityNet"
        return rows
    if len(wrapped) == 1 and (len(content) == 1 or has_other_kinds(content, wrapped[0])):
        return read_list(path, content[wrapped[0]])
    lengths = {len(value) if isinstance(value, list) else -1 for value in content.values()}
    if len(content) > 1 and len(lengths) == 1 and not lengths & {-1, 0} and has_id_key(content):
        return FileRows(path=path, kind="JSON columns", columns=dict(content))
    return read_entries(path, content)


def has_id_key(content: dict[str, Any]) -> bool:
    """Return whether the keys of an object are names of columns rather than videos.

    Args:
        content: The object.
    """
    from flowkit.annotations.label_files.columns import find_usual_column

    return bool(find_usual_column("id", list(content)) and find_usual_column("label", list(content)))


def is_list_of_objects(value: Any) -> bool:
    """Return whether a JSON value is a list that begins with an object.

    Args:
        value: The value.
    """
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def has_other_kinds(content: dict[str, Any], key: str) -> bool:
    """Return whether the values beside one key describe the file, rather than videos.

    Args:
        content: The object.
        key: The key of the list of videos.
    """
    others = [value for other, value in content.items() if other != key]
    return not any(is_list_of_objects(value) for value in others)


def read_entries(path: Path, content: dict[str, Any]) -> FileRows:
    """Read an object with an entry for each video: an object, or its labels.

    Args:
        path: The file, for messages.
        content: The entries by video.

    Returns:
        The rows; the column `KEY_COLUMN` has the keys.

    Raises:
        AnnotationError: The entries are of several kinds.
    """
    builder = ColumnBuilder()
    has_objects = all(isinstance(value, dict) for value in content.values())
    for key, value in content.items():
        if has_objects:
            builder.add({KEY_COLUMN: key, **value})
        elif isinstance(value, dict):
            raise AnnotationError(
                f"{path}: expected a list of videos, or an entry for each video, got an object "
                f"with the keys {', '.join(list(content)[:10])}; name the list 'videos'"
            )
        else:
            builder.add({KEY_COLUMN: key, "labels": value})
    roles = {"id": KEY_COLUMN} if has_objects else {"id": KEY_COLUMN, "label": "labels"}
    return FileRows(
        path=path, kind="JSON by video", columns=builder.columns, roles=roles
    )


def read_json_lines(path: Path) -> FileRows:
    """Read JSON lines: an object in each line.

    Args:
        path: The file.

    Returns:
        The rows.

    Raises:
        AnnotationError: The file is empty or cannot be read, or a line is not a JSON object.
    """
    builder, columns = ColumnBuilder(), LineColumns(0)
    with open_text(path) as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            entry = parse_json(f"{path}:{line}", text)
            if not isinstance(entry, dict):
                raise AnnotationError(
                    f"{path}:{line}: expected a JSON object in each line, got {text.strip()[:60]!r}"
                )
            builder.add(entry)
            columns.lines.append(line)
    if not builder.count:
        raise make_empty_error(path)
    return FileRows(path=path, kind="JSON lines", columns=builder.columns, lines=columns.lines)


def has_json_lines(lines: Sequence[str]) -> bool:
    """Return whether the first two lines of a file are JSON objects of their own.

    Args:
        lines: The first lines.
    """
    try:
        return len(lines) > 1 and all(isinstance(json.loads(line), dict) for line in lines[:2])
    except ValueError:
        return False
