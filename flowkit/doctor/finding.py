"""Define what `flowkit doctor` reports: findings."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    topic: str
    """What was checked, in a word or two."""
    status: Status
    """``ok``: nothing to do. ``warn``: works, but not well or not always. ``fail``: will not work.
    ``skip``: not checked, because a step that it needs failed.
    """
    message: str
    """What was found, in one line."""
    advice: str = ""
    """What to do about it, in one line."""
