"""Turn the values of a label file into labels, times and subsets."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from flowkit.annotations.label_files.classes import ClassList
from flowkit.annotations.label_files.columns import (
    PLURAL,
    TEMPLATE,
    USUAL_NAMES,
    find_usual_column,
    normalize_name,
)
from flowkit.annotations.label_files.rows import to_text
from flowkit.annotations.table import Label, normalize_unicode
from flowkit.errors import AnnotationError

SUBSETS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The subset for each usual name of one; other names stay as they are."""
SEPARATORS = re.compile(r"\s*[;|]\s*")
"""What separates the labels in a text of a column such as ``labels``."""
CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)")
"""A time such as ``1:02:03.5`` or ``02:03``."""
NUMERIC = re.compile(r"(\d{1,18})(?:\.0+)?")
"""A class number, also as programs write it that hold numbers as floats. More digits are a name."""


def split_labels(value: Any, column: str) -> tuple[str, ...]:
    """Split a value of the label column into labels.

    Args:
        value: A text, a number, or a list of them.
        column: Name of the column. The text of a column with a plural name may have several labels.

    Returns:
        The labels as texts, without empty ones.
    """
    if isinstance(value, list | tuple):
        texts = [to_text(item) for item in value]
    else:
        text = to_text(value)
        name = normalize_name(column)
        if name == TEMPLATE:
            text = text.replace("[", "").replace("]", "")
        if name not in PLURAL:
            texts = [text]
        elif re.fullmatch(r"\d+( \d+)+", text):
            texts = text.split()
        else:
            texts = SEPARATORS.split(text)
    return tuple(text for text in texts if text)


class ClassNamer:
    """Turns the labels of files into class names.

    Args:
        class_list: The classes; None if there is no list.
        file_names: Class names by number that a file itself has.
        all_numeric: Whether all labels are numbers.
    """

    def __init__(
        self, class_list: ClassList | None, file_names: Mapping[int, str], all_numeric: bool
    ) -> None:
        self.class_list, self.all_numeric = class_list, all_numeric
        self.by_number = class_list.names_by_number if class_list else file_names
        self.source = str(class_list.path) if class_list else "the class names in the file"
        self.by_normal_name = {normalize_unicode(name): name for name in self.by_number.values()}

    def name(self, text: str, locate: Callable[[], str]) -> str:
        """Return the class name of a label, in Unicode normalization form C if no list has it.

        Args:
            text: The label.
            locate: Returns where the label is, for error messages.

        Raises:
            AnnotationError: The class list does not have the label, or it is not valid Unicode.
        """
        match = NUMERIC.fullmatch(text)
        if not text.isascii():
            check_encodable(text, f"{locate()}: the label")
            text = normalize_unicode(text)
        if not self.by_number:
            return str(int(match[1])) if match and self.all_numeric else text
        if text in self.by_normal_name:
            return self.by_normal_name[text]
        if match and int(match[1]) in self.by_number:
            return self.by_number[int(match[1])]
        if match is None and self.class_list is None:
            return text
        numbers = list(self.by_number)
        raise AnnotationError(
            f"{locate()}: label {text!r} is none of the {len(numbers)} classes of {self.source}, "
            f"which have the numbers {numbers[0]} to {numbers[-1]}; add it to the list or correct "
            "the label"
        )


def check_encodable(text: str, what: str) -> None:
    """Check that a text has no half of a surrogate pair, which JSON can write but UTF-8 cannot.

    Args:
        text: The text.
        what: Where the text is and what it stands for, for the message.

    Raises:
        AnnotationError: It has one.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise AnnotationError(f"{what} {text!a} is not valid Unicode; correct it") from None


def parse_time(value: Any, column: str, locate: Callable[[], str]) -> float | None:
    """Parse a time or a frame number.

    Args:
        value: A number, a text with a number of seconds, or a text such as ``1:02:03.5``.
        column: Name of the column, for error messages.
        locate: Returns where the value is, for error messages.

    Returns:
        The seconds, or the frame number; None if the value is empty.

    Raises:
        AnnotationError: The value is not a time, or is negative.
    """
    text = to_text(value)
    if not text:
        return None
    match = CLOCK.fullmatch(text)
    if match:
        return int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3])
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise AnnotationError(
            f"{locate()}: expected a time in {column!r} such as 12.5 or 1:02.5, got {text!r}; "
            "correct it"
        )
    return seconds


def check_interval(
    start: float | None, end: float | None, locate: Callable[[], str]
) -> tuple[float, float] | None:
    """Check that a label ends after it starts.

    Args:
        start: Start in seconds, or None.
        end: End in seconds, or None.
        locate: Returns where the label is, for error messages.

    Returns:
        Start and end; None if the label applies to the whole video.

    Raises:
        AnnotationError: Only one of the two is there, or the end is before the start.
    """
    if start is None and end is None:
        return None
    if start is None or end is None:
        actual = "only one of them"
    elif end < start:
        actual = f"{start:g} to {end:g}"
    else:
        return start, end
    raise AnnotationError(
        f"{locate()}: expected a start and a later end of the label, got {actual}; correct the row"
    )


def read_segments(
    value: Any,
    name: Callable[[str, Callable[[], str]], str],
    locate: Callable[[], str],
    get_fps: Callable[[], float],
) -> tuple[Label, ...]:
    """Read labels that are objects, each with a class and perhaps its times.

    Args:
        value: An object or a list of objects, such as ``{"label": "jump", "segment": [1.0, 2.5]}``.
        name: Turns a label into the name of its class.
        locate: Returns where the labels are, for error messages.
        get_fps: Returns the frame rate, which turns frame numbers into seconds; it is called only
            for objects that have frame numbers and no seconds.

    Returns:
        The labels.

    Raises:
        AnnotationError: An object has no label, or its times are not a start and an end.
    """
    labels = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict):
            raise AnnotationError(
                f"{locate()}: expected labels that are objects, got {str(entry)[:40]!r}; correct it"
            )
        keys = list(entry)
        column = find_usual_column("label", keys)
        text = to_text(entry[column]) if column is not None else ""
        if not text:
            raise AnnotationError(
                f"{locate()}: expected a key {', '.join(USUAL_NAMES['label'][:4])}, … in "
                f"{str(entry)[:60]}; add it"
            )
        start, end = read_pair(entry.get("segment"), locate)
        if start is None and end is None:
            start, end = read_bounds(entry, ("start", "end"), locate)
        if start is None and end is None:
            start, end = read_bounds(entry, ("start_frame", "end_frame"), locate)
            if start is not None and end is not None:
                fps = get_fps()
                start, end = start / fps, end / fps
        labels.append(Label(name(text, locate), *(check_interval(start, end, locate) or ())))
    return tuple(labels)


def read_bounds(
    entry: Mapping[str, Any], roles: tuple[str, str], locate: Callable[[], str]
) -> tuple[float | None, float | None]:
    """Read start and end from an object.

    Args:
        entry: The object.
        roles: The roles of its keys for start and end, such as ``("start", "end")``.
        locate: Returns where the object is, for error messages.

    Returns:
        Start and end as they are written; None for one without a key or a value.

    Raises:
        AnnotationError: A value is not a number.
    """
    keys = [find_usual_column(role, list(entry)) for role in roles]
    start, end = (None if key is None else parse_time(entry[key], key, locate) for key in keys)
    return start, end


def read_pair(value: Any, locate: Callable[[], str]) -> tuple[float | None, float | None]:
    """Read a pair of a start and an end in seconds.

    Args:
        value: A list of two numbers; None or an empty list if there are no times.
        locate: Returns where the pair is, for error messages.

    Returns:
        Start and end; twice None if there are no times.

    Raises:
        AnnotationError: The value is not a pair of numbers.
    """
    if value is None or value == [] or value == "":
        return None, None
    if not (isinstance(value, list | tuple) and len(value) == 2):
        raise AnnotationError(
            f"{locate()}: expected a segment [start, end] in seconds, got {str(value)[:40]!r}; "
            "correct it"
        )
    return parse_time(value[0], "segment", locate), parse_time(value[1], "segment", locate)


def guess_subset(stem: str) -> str | None:
    """Return the subset that the name of a file says, such as ``val`` for ``my-validation``.

    Args:
        stem: Name of the file without extension.

    Returns:
        The subset of the first or the last word of the name; None if it is none.
    """
    words = re.findall(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+", stem)
    for word in (words[-1:] + words[:1]) if words else ():
        if word.lower() in SUBSETS:
            return SUBSETS[word.lower()]
    joined = re.sub(r"(?i)_?set$", "", stem)
    return guess_subset(joined) if joined != stem else None
