"""Read JSON and JSON lines.

[{"id": "a", "label": "jump"}, …]                     a list of objects
{"a": {"label": "jump"}, …}                           an object for each video
{"a": "jump", "b": ["jump", "run"], …}                the labels of each video
{"database": {"a": {"annotations": […]}, …}}          ActivityNet
{"version": 1, "videos": [{…}, …]}                    a list beside other values
{"id": "a", "label": "jump"}⏎{…}⏎                     JSON lines
"""

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from flowkit.annotations.label_files.columns import find_usual_column
from flowkit.annotations.label_files.rows import (
    CHUNK_ROWS,
    KEY_COLUMN,
    ColumnBuilder,
    FileRows,
    make_empty_error,
)
from flowkit.annotations.label_files.text_files import open_text, read_all
from flowkit.errors import AnnotationError

DATABASE = "database"
"""The key of ActivityNet's files that has the videos."""


ACTIVITYNET_PREFIX = "v_"
"""What stands before the id in the names of ActivityNet's files."""


LIST_KEYS = frozenset({"annotations", "clips", "data", "items", "rows", "samples", "videos"})
"""Usual keys of a list of videos that is beside other values."""


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
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, count in counts.items() if count > 1)
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
    except (ValueError, RecursionError) as error:  # also of a number with too many digits
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
    """Read a list of objects, of pairs or of names.

    Args:
        path: The file, for messages.
        entries: The list. One of objects is emptied as it is read, to free its memory.

    Returns:
        The rows.

    Raises:
        AnnotationError: The list is empty, or its entries are of several kinds.
    """
    if not entries:
        raise make_empty_error(path)
    if isinstance(entries[0], dict):
        builder = ColumnBuilder()
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise make_entry_error(path, number, "an object, as the first entry is", entry)
        entries.reverse()
        while entries:
            chunk = entries[: -CHUNK_ROWS - 1 : -1]
            del entries[-CHUNK_ROWS:]
            builder.add_objects(chunk)
        return FileRows(path=path, kind="a JSON list", columns=builder.columns)
    rows = [entry if isinstance(entry, list) else [entry] for entry in entries]
    width = len(rows[0])
    for number, row in enumerate(rows):
        if len(row) != width or any(isinstance(value, dict | list) for value in row) or not row:
            is_list = isinstance(entries[0], list)
            expected = f"a list of {width or 2} texts or numbers" if is_list else "a name"
            expected += ", as the first entry is" if number else ""
            raise make_entry_error(path, number, expected, entries[number])
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
        AnnotationError: It is empty, or it is not clear what its videos are.
    """
    wrapped = [key for key, value in content.items() if is_list_of_objects(value)]
    if isinstance(content.get(DATABASE), dict):
        rows = read_entries(path, content[DATABASE])
        rows.kind, rows.prefix = "JSON of ActivityNet", ACTIVITYNET_PREFIX
        return rows
    usual = [key for key in wrapped if key.lower() in LIST_KEYS]
    if len(usual) == 1:  # beside others, such as the categories of COCO
        return read_list(path, content[usual[0]])
    # Without an id, these objects are the labels of one video.
    if len(wrapped) == 1 and find_usual_column("id", list(content[wrapped[0]][0])):
        return read_list(path, content[wrapped[0]])
    lengths = {len(value) if isinstance(value, list) else -1 for value in content.values()}
    if (
        len(content) > 1
        and len(lengths) == 1
        and not lengths & {-1, 0}
        and has_column_names(content)
    ):
        return FileRows(path=path, kind="JSON columns", columns=dict(content))
    # Such as COCO's two lists, videos and annotations, or names of videos beside other values.
    named = [value for key, value in content.items() if key.lower() in LIST_KEYS]
    has_objects = all(isinstance(value, dict) for value in content.values())
    if not has_objects and any(isinstance(value, list | dict) for value in named):
        raise AnnotationError(
            f"{path}: expected one list with an object for each video, such as "
            f'{{"videos": [{{"id": "a", "label": "jump"}}]}}, got {describe_keys(content)}; '
            "write the labels of each video into its object"
        )
    return read_entries(path, content)


def has_column_names(content: dict[str, Any]) -> bool:
    """Return whether the keys of an object are names of columns rather than videos.

    Args:
        content: The object.
    """
    return all(find_usual_column(role, list(content)) for role in ("id", "label"))


def describe_keys(content: dict[str, Any]) -> str:
    """Return the first keys of an object, for messages."""
    return f"an object with the keys {', '.join(list(content)[:10])}"


def is_list_of_objects(value: Any) -> bool:
    """Return whether a JSON value is a list that begins with an object.

    Args:
        value: The value.
    """
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def read_entries(path: Path, content: dict[str, Any]) -> FileRows:
    """Read an object with an entry for each video: an object, or its labels.

    Args:
        path: The file, for messages.
        content: The entries by video.

    Returns:
        The rows; the column `KEY_COLUMN` has the keys.

    Raises:
        AnnotationError: There are none, or they are of several kinds.
    """
    if not content:
        raise make_empty_error(path)
    builder = ColumnBuilder()
    has_objects = all(isinstance(value, dict) for value in content.values())
    if not has_objects and any(isinstance(value, dict) for value in content.values()):
        raise AnnotationError(
            f"{path}: expected a list of videos, or an entry for each video, got "
            f"{describe_keys(content)}; name the list 'videos'"
        )
    keys, values = list(content), iter(content.values())
    roles = {"id": KEY_COLUMN} if has_objects else {"id": KEY_COLUMN, "label": "labels"}
    while chunk := list(islice(values, CHUNK_ROWS)):
        builder.add_objects(chunk if has_objects else [{"labels": value} for value in chunk])
    columns = {KEY_COLUMN: keys, **builder.columns}
    return FileRows(path=path, kind="JSON by video", columns=columns, roles=roles)


def read_json_lines(path: Path) -> FileRows:
    """Read JSON lines: an object in each line.

    Args:
        path: The file.

    Returns:
        The rows.

    Raises:
        AnnotationError: The file is empty or cannot be read, or a line is not a JSON object.
    """
    builder, lines = ColumnBuilder(), array("q")
    with open_text(path) as file:
        numbered = ((line, text) for line, text in enumerate(file, start=1) if text.strip())
        while chunk := list(islice(numbered, CHUNK_ROWS)):
            builder.add_objects(parse_lines(path, chunk))
            lines.extend([line for line, _ in chunk])
    if not builder.count:
        raise make_empty_error(path)
    return FileRows(path=path, kind="JSON lines", columns=builder.columns, lines=lines)


def parse_lines(path: Path, chunk: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    """Parse some JSON lines.

    Args:
        path: The file, for messages.
        chunk: Line numbers and lines.

    Returns:
        The object of each line.

    Raises:
        AnnotationError: A line is not a JSON object.
    """
    # One call for all lines takes half the time; what is wrong with a line is found line by line.
    with suppress(ValueError, RecursionError):
        text = f"[{','.join(text for _, text in chunk)}]"
        entries = json.loads(text, object_pairs_hook=build_object)
        if len(entries) == len(chunk) and all(isinstance(entry, dict) for entry in entries):
            return entries  # type: ignore[no-any-return]
    for line, text in chunk:
        if not isinstance(parse_json(f"{path}:{line}", text), dict):
            raise AnnotationError(
                f"{path}:{line}: expected a JSON object in each line, got {text.strip()[:60]!r}"
            )
    raise AnnotationError(f"{path}:{chunk[0][0]}: expected a JSON object in each line; check it")


def has_json_lines(lines: Sequence[str]) -> bool:
    """Return whether the first two lines of a file are JSON objects of their own.

    Args:
        lines: The first lines.
    """
    try:
        return len(lines) > 1 and all(isinstance(json.loads(line), dict) for line in lines[:2])
    except (ValueError, RecursionError):
        return False
