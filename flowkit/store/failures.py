"""Read and write ``failures.jsonl``, which lists the videos that could not be extracted."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flowkit.errors import StoreError
from flowkit.path_text import printable_path, replace_surrogates
from flowkit.store.format.atomic import convert_disk_errors, write_atomic
from flowkit.store.format.schema import encode_json
from flowkit.store.format.video_values import (
    Check,
    check_values,
    is_count,
    is_flag,
    is_number,
    is_size,
    is_text_list,
    is_time,
)

OPTIONAL_FIELDS = ("traceback", "retry", "streams")
"""Fields that are left out of the file if they are empty."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one video could not be extracted."""

    id: str
    """Id of the video."""
    source: str
    """Path of the source, as printable text."""
    kind: str
    """Kind of the failure, one word that does not change between versions."""
    reason: str
    """Reason of the failure, one line."""
    attempts: int
    """Number of attempts so far."""
    time: float
    """When it failed, in seconds since 1970."""
    size: int = 0
    """Size of the source in bytes, 0 if unknown; a replaced source is tried again."""
    mtime_ns: int = 0
    """Modification time of the source in nanoseconds, 0 if unknown."""
    stream: str = ""
    """``features/<name>`` for features, empty for an extraction."""
    traceback: str = ""
    """Traceback of an internal error, else empty."""
    retry: bool = False
    """Whether the next run tries again, because the installation caused the failure."""
    streams: tuple[str, ...] = ()
    """The streams that were to be extracted; empty for features, and if an older version failed."""

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as a JSON object, without optional fields that are empty."""
        values = asdict(self)
        return {
            name: values[name] for name in values if values[name] or name not in OPTIONAL_FIELDS
        }

    def __post_init__(self) -> None:
        # Paths and messages may hold surrogates, which UTF-8 in the file cannot.
        for name in ("id", "source", "reason", "traceback"):
            object.__setattr__(self, name, replace_surrogates(getattr(self, name)))
        object.__setattr__(self, "streams", tuple(self.streams))


def append_failure(root: str | os.PathLike[str], failure: Failure) -> None:
    """Append one failure in a single write, so that writers on one machine need no lock."""
    path = Path(root) / "failures.jsonl"
    line = encode_json(failure.to_dict()) + b"\n"
    with convert_disk_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last line was cut off by a crash
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_failures(root: str | os.PathLike[str], stream: str = "") -> dict[str, Failure]:
    """Read the failures of a stream by video id; the last line of each id is used."""
    return {failure.id: failure for failure in read_all_failures(root) if failure.stream == stream}


def read_all_failures(root: str | os.PathLike[str]) -> list[Failure]:
    """Read the failures of all streams; the last line of each id and stream is used."""
    failures = (failure for _, failure in read_lines(Path(root)) if failure is not None)
    return list({(failure.id, failure.stream): failure for failure in failures}.values())


def is_about_stored_images(failure: Failure, root: Path) -> bool:
    """Return whether a failure is of a video whose images were read from the store at ``root``."""
    return failure.source in {printable_path(path) for path in (root.absolute(), root.resolve())}


def forget_failures(root: str | os.PathLike[str], stream: str) -> None:
    """Remove the failures of a stream; no other process may write to the file meanwhile."""
    path = Path(root) / "failures.jsonl"
    lines = list(read_lines(path.parent))
    remaining = [line for line, failure in lines if failure is None or failure.stream != stream]
    if len(remaining) < len(lines):
        write_atomic(path, b"".join(line + b"\n" for line in remaining))


def read_lines(root: Path) -> Iterator[tuple[bytes, Failure | None]]:
    """Yield each line that is not empty and its failure; None for one that is cut off or damaged.

    Raises:
        StoreError: The file cannot be read.
    """
    path = root / "failures.jsonl"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"cannot read {printable_path(path)}: {error.strerror}; check its permissions"
        ) from None
    for line in content.split(b"\n"):
        if line:
            yield line, parse_line(line)


def parse_line(line: bytes) -> Failure | None:
    """Parse one line; None if it is cut off or damaged."""
    try:
        values = json.loads(line)
        check_values(values, REQUIRED)
        names = Failure.__dataclass_fields__.keys() & values.keys()
        check_values(values, {name: OPTIONAL[name] for name in names & OPTIONAL.keys()})
        return Failure(**{name: values[name] for name in names})
    except (ValueError, RecursionError):
        return None


def is_any_text(value: Any) -> bool:
    """Return whether a value is a text, which may be empty."""
    return isinstance(value, str)


REQUIRED: dict[str, Check] = {
    "id": is_any_text, "source": is_any_text, "kind": is_any_text, "reason": is_any_text,
    "attempts": is_count, "time": is_number,
}  # fmt: skip
"""Values of each line."""
OPTIONAL: dict[str, Check] = {
    "size": is_size, "mtime_ns": is_time, "stream": is_any_text, "traceback": is_any_text,
    "retry": is_flag, "streams": is_text_list,
}  # fmt: skip
"""Values that a line may lack."""
