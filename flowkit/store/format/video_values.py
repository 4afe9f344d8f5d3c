"""Check the JSON values that describe videos, in commit records and in the batches of shards.

Everything that reads such values checks them here, once, so that no other code meets a value of a
wrong type or out of range. The checks are plain functions, as an index of a million videos is built
from a million of these objects.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

INT32, INT64 = 2**31 - 1, 2**63 - 1
MAX_EXACT = 2**53
"""Largest integer up to which a float64 holds every integer."""
HEX32, HEX64 = re.compile("[0-9a-fA-F]{32}"), re.compile("[0-9a-fA-F]{64}")
Check = Callable[[Any], bool]


def is_count(value: Any) -> bool:
    """Return whether a value is an integer from 0 to the largest int32."""
    return type(value) is int and 0 <= value <= INT32


def is_size(value: Any) -> bool:
    """Return whether a value is an integer from 0 to the largest int64."""
    return type(value) is int and 0 <= value <= INT64


def is_time(value: Any) -> bool:
    """Return whether a value is an int64, such as nanoseconds since 1970."""
    return type(value) is int and -INT64 <= value <= INT64


def is_number(value: Any) -> bool:
    """Return whether a value is a number that a float64 can hold."""
    return type(value) is float or (type(value) is int and abs(value) <= MAX_EXACT)


def is_amount(value: Any) -> bool:
    """Return whether a value is a number of at least 0."""
    return is_number(value) and value >= 0


def is_optional_amount(value: Any) -> bool:
    """Return whether a value is None or a number of at least 0."""
    return value is None or is_amount(value)


def is_text(value: Any) -> bool:
    """Return whether a value is a text that is not empty, and that UTF-8 can encode."""
    if type(value) is not str or not value:
        return False
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True


def is_text_list(value: Any) -> bool:
    """Return whether a value is a list of texts, which may be empty."""
    return isinstance(value, list | tuple) and all(type(text) is str for text in value)


def is_name_list(value: Any) -> bool:
    """Return whether a value is a list of different texts that are not empty."""
    return (
        isinstance(value, list | tuple)
        and all(map(is_text, value))
        and len(set(value)) == len(value)
    )


def is_fingerprint(value: Any) -> bool:
    """Return whether a value is the fingerprint of a file."""
    return (
        isinstance(value, dict)
        and is_size(value.get("size"))
        and is_time(value.get("mtime_ns"))
        and is_digest(value.get("digest"))
    )


def is_digest(value: Any) -> bool:
    """Return whether a value is a BLAKE2b-128 in hexadecimal."""
    return type(value) is str and HEX32.fullmatch(value) is not None


def is_sha256(value: Any) -> bool:
    """Return whether a value is a SHA-256 in hexadecimal."""
    return type(value) is str and HEX64.fullmatch(value) is not None


def is_motion(value: Any) -> bool:
    """Return whether a value is None or the motion of a video."""
    if value is None:
        return True
    return isinstance(value, dict) and is_number(value.get("mean")) and is_number(value.get("p95"))


def is_object(value: Any) -> bool:
    """Return whether a value is a JSON object."""
    return isinstance(value, dict)


def is_flag(value: Any) -> bool:
    """Return whether a value is true or false."""
    return isinstance(value, bool)


def is_list(value: Any) -> bool:
    """Return whether a value is a list."""
    return isinstance(value, list)


VIDEO: dict[str, Check] = {
    "id": is_text, "source": is_text, "fingerprint": is_fingerprint, "streams": is_name_list,
    "frames": is_count, "fps": is_amount, "width": is_count, "height": is_count,
}  # fmt: skip
"""Values that every description of a video has."""
OPTIONAL: dict[str, Check] = {
    "warnings": is_text_list, "provenance": is_object, "duration": is_optional_amount,
    "motion": is_motion, "supersedes": is_flag,
}  # fmt: skip
"""Values that a description of a video may lack."""
POSITION: dict[str, Check] = dict.fromkeys(("batch", "batches", "first_row", "rows"), is_count)
"""Values that say where a video is in its shard; the records have them."""
PART: dict[str, Check] = {
    "id": is_text, "part": is_count, "last": is_flag, "rows": is_count
}  # fmt: skip
"""Values of each part of a video in the metadata of a batch."""
RECORD: dict[str, Check] = {
    "folder": is_text, "uuid": is_text, "rows": is_size, "bytes": is_size, "sha256": is_sha256,
    "committed": is_number, "videos": is_list,
}  # fmt: skip
"""Values of a commit record."""


def check_values(values: Any, required: Mapping[str, Check]) -> None:
    """Check some values of a JSON object.

    Raises:
        ValueError: It is no object, or a value is missing, of a wrong type or out of range.
    """
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, got {values!a:.40}")
    for name, is_valid in required.items():
        if name not in values:
            raise ValueError(f"no value of {name!r}")
        if not is_valid(values[name]):
            raise ValueError(f"{name} is {values[name]!a:.40}")


def check_video(values: Any, required: Mapping[str, Check] = VIDEO) -> None:
    """Check the description of a video.

    Args:
        values: The JSON object.
        required: The values that it must have.

    Raises:
        ValueError: It is no object, or a value is missing, of a wrong type or out of range.
    """
    check_values(values, required)
    for name, is_valid in OPTIONAL.items():
        if name in values and not is_valid(values[name]):
            raise ValueError(f"{name} is {values[name]!a:.40}")


def check_record(values: Any) -> None:
    """Check the values of a commit record and of its videos; ValueError if one is wrong."""
    check_values(values, RECORD)
    for video in values["videos"]:
        check_video(video, COMMITTED)


COMMITTED = VIDEO | POSITION
"""Values that the description of a video in a commit record must have."""
