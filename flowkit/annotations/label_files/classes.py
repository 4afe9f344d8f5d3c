"""Read the list of classes that gives numeric labels their names.

Jump                                   one name in each line, numbered from 0
1 Jump | 1,Jump | Jump,1 | Jump;1      a name and its number
["Jump", …]                            JSON: the names, numbered from 0
{"Jump": "0", …} | {"0": "Jump", …}    JSON: names and numbers
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowkit.annotations.label_files.json_files import parse_json
from flowkit.annotations.label_files.rows import make_empty_error, to_text
from flowkit.annotations.label_files.text_files import open_text, read_all
from flowkit.errors import AnnotationError

NUMBER_FIRST = re.compile(r"(\d{1,18})\s*(?:[,;:|\t]|\s)\s*(.*\S)")
NUMBER_LAST = re.compile(r"(.*\S)\s*[,;|\t]\s*(\d{1,18})")
HEADER = re.compile(r"(?i)\W*(id|index|number|label|class|name|category)\w*\W")
"""The beginning of a first line that names columns."""


@dataclass(frozen=True, slots=True)
class ClassList:
    """The classes of a dataset, each with its number."""

    path: Path
    """The file that lists them."""
    names_by_number: Mapping[int, str]
    """Class names by number, in ascending order of the numbers."""

    @property
    def names(self) -> tuple[str, ...]:
        """The class names in the order of their numbers."""
        return tuple(self.names_by_number.values())


def read_classes(path: Path) -> ClassList:
    """Read a list of classes.

    Args:
        path: The file.

    Returns:
        The classes.

    Raises:
        AnnotationError: The file is empty or cannot be read, or a name or number occurs twice.
    """
    pairs = read_json_pairs(path) if path.suffix.lower() == ".json" else read_line_pairs(path)
    if not pairs:
        raise make_empty_error(path, "the names of the classes")
    names_by_number: dict[int, str] = {}
    seen: set[str] = set()
    for location, number, name in sorted(pairs, key=lambda pair: pair[1]):
        if number in names_by_number:
            raise AnnotationError(
                f"{location}: class number {number} is {names_by_number[number]!r} and {name!r}; "
                "give each class a number of its own"
            )
        if name in seen:
            raise AnnotationError(f"{location}: class {name!r} is listed twice; remove one of them")
        names_by_number[number] = name
        seen.add(name)
    return ClassList(path, names_by_number)


def read_line_pairs(path: Path) -> list[tuple[str, int, str]]:
    """Read a text file with a class in each line.

    Args:
        path: The file.

    Returns:
        Location, number and name of each class.

    Raises:
        AnnotationError: The file cannot be read.
    """
    with open_text(path) as file:
        lines = [
            (f"{path}:{line}", text.strip().strip('"'))
            for line, text in enumerate(file, start=1)
            if text.strip()
        ]
    for pattern, number_group in ((NUMBER_FIRST, 1), (NUMBER_LAST, 2)):
        has_header = len(lines) > 1 and bool(HEADER.match(lines[0][1] + " "))
        body = lines[1:] if has_header and not pattern.fullmatch(lines[0][1]) else lines
        matches = [(location, pattern.fullmatch(text)) for location, text in body]
        if all(match for _, match in matches):
            return [
                (location, int(match[number_group]), match[3 - number_group])
                for location, match in matches
                if match
            ]
    return [(location, number, text) for number, (location, text) in enumerate(lines)]


def read_json_pairs(path: Path) -> list[tuple[str, int, str]]:
    """Read a JSON file with the classes.

    Args:
        path: The file.

    Returns:
        Location, number and name of each class. A name that is a list is joined with spaces.

    Raises:
        AnnotationError: The file cannot be read, or is not of a form that the module shows.
    """
    location = str(path)
    content = parse_json(location, read_all(path))
    if isinstance(content, list):
        return [(location, number, join_name(name)) for number, name in enumerate(content)]
    if isinstance(content, dict):
        if all(map(is_number, map(to_text, content.values()))):
            return [(location, int(to_text(value)), key) for key, value in content.items()]
        if all(map(is_number, content)):
            return [(location, int(key), join_name(value)) for key, value in content.items()]
    raise AnnotationError(
        f"{path}: expected a list of class names, or an object of names and numbers; got "
        f"{str(content)[:60]!r}"
    )


def is_number(text: str) -> bool:
    """Return whether a text is a class number."""
    return text.isdecimal() and len(text) <= 18


def join_name(value: Any) -> str:
    """Return a class name; the parts of a list are joined with spaces.

    Args:
        value: A string, or a list of strings as in the vocabulary of Diving48.
    """
    return " ".join(map(to_text, value)) if isinstance(value, list) else to_text(value)
