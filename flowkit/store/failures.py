"""failures.jsonl: the quarantine of videos that could not be extracted, one JSON line each."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flowkit.path_text import repair_text
from flowkit.store.format.atomic import disk_errors, write_atomic
from flowkit.store.format.schema import encode_json

RARE = ("traceback", "retry")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one video could not be extracted.

    ``kind`` is a short stable word (VideoError.kind), ``reason`` one line; ``attempts`` counts the
    tries so far; ``time`` in seconds since 1970. ``size`` and ``mtime_ns`` are those of the source
    that failed (0 where it had none), so that another file in its place gets a new chance.
    ``stream`` is "" for what is extracted from sources, or ``features/<name>``. ``traceback`` is
    the whole one of an internal error, else "". ``retry``: the next run tries the video again, for
    the installation was to blame.
    """

    id: str
    source: str
    kind: str
    reason: str
    attempts: int
    time: float
    size: int = 0
    mtime_ns: int = 0
    stream: str = ""
    traceback: str = ""
    retry: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object: without what few failures have, where this one has not."""
        values = asdict(self)
        return {name: values[name] for name in values if values[name] or name not in RARE}

    def __post_init__(self) -> None:
        # Paths and messages come in the locale's text; the file holds UTF-8.
        for name in ("id", "source", "reason"):
            object.__setattr__(self, name, repair_text(getattr(self, name)))


def append_failure(root: str | os.PathLike[str], failure: Failure) -> None:
    """Append one line, in one write: writers on one machine need no lock."""
    path = Path(root) / "failures.jsonl"
    line = encode_json(failure.to_dict()) + b"\n"
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # a line torn by a crash must not spoil this one
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_failures(root: str | os.PathLike[str], stream: str = "") -> dict[str, Failure]:
    """The failures of a stream by video id; the last line of an id counts, torn lines do not."""
    return {
        failure.id: failure
        for _, failure in read_lines(Path(root))
        if failure is not None and failure.stream == stream
    }


def forget_failures(root: str | os.PathLike[str], stream: str) -> None:
    """Drop the failures of a stream. To be called where nobody else writes: all lines move."""
    path = Path(root) / "failures.jsonl"
    lines = list(read_lines(path.parent))
    kept = [line for line, failure in lines if failure is None or failure.stream != stream]
    if len(kept) < len(lines):
        write_atomic(path, b"".join(line + b"\n" for line in kept))


def read_lines(root: Path) -> Iterator[tuple[bytes, Failure | None]]:
    """Each line, and the failure in it; None where it is blank, or torn by a crash."""
    try:
        content = (root / "failures.jsonl").read_bytes()
    except FileNotFoundError:
        return
    for line in content.splitlines():
        try:
            values = json.loads(line)
            known = Failure.__dataclass_fields__.keys() & values.keys()
            yield line, Failure(**{name: values[name] for name in known})
        except (ValueError, AttributeError, TypeError):
            yield line, None
