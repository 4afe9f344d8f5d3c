"""Keep the outcome of the last `flowkit verify` in the store, for people who look at it later."""

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from flowkit.path_text import replace_surrogates
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.schema import encode_json
from flowkit.store.format.video_values import (
    Check,
    check_values,
    is_amount,
    is_count,
    is_flag,
    is_size,
    is_text_list,
)
from flowkit.store.integrity.report import Report

NAME = "verified.json"
"""Name of the file in the folder of the store."""
MAX_PROBLEMS = 20
"""Problems that are kept; their number is always exact."""


@dataclass(frozen=True, kw_only=True)
class VerifyOutcome:
    """The outcome of a check of a whole store."""

    time: float
    """When it ended, in seconds since 1970."""
    deep: bool
    """Whether it also decoded every image."""
    shards: int
    """Number of shards that were checked."""
    videos: int
    """Number of videos in them."""
    bytes: int
    """Size of what was read."""
    problems: int
    """Number of problems; 0 if all was good."""
    first: tuple[str, ...]
    """The first problems."""


def record_outcome(root: Path, report: Report, deep: bool) -> None:
    """Write the outcome of a check; it replaces that of the one before.

    Args:
        root: Folder of the store.
        report: The report of the check.
        deep: Whether every image was decoded.

    Raises:
        StoreError: The store cannot be written.
    """
    outcome = VerifyOutcome(
        time=round(time.time(), 3),
        deep=deep,
        shards=report.shards,
        videos=report.videos,
        bytes=report.bytes,
        problems=len(report.problems),
        first=tuple(replace_surrogates(str(problem)) for problem in report.problems[:MAX_PROBLEMS]),
    )
    write_atomic(root / NAME, encode_json(asdict(outcome)))


def read_outcome(root: Path) -> VerifyOutcome | None:
    """Read the outcome of the last check; None if there was none, or its file is damaged."""
    try:
        values: dict[str, Any] = json.loads((root / NAME).read_bytes())
        check_values(values, OUTCOME)
    except (OSError, ValueError, RecursionError):
        return None
    known = {field.name: values[field.name] for field in fields(VerifyOutcome)}
    return VerifyOutcome(**known | {"first": tuple(known["first"])})


OUTCOME: dict[str, Check] = {
    "time": is_amount, "deep": is_flag, "shards": is_count, "videos": is_count, "bytes": is_size,
    "problems": is_count, "first": is_text_list,
}  # fmt: skip
"""Values of the file."""
