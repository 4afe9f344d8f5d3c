"""One finding of ``flowkit doctor``."""

from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at (``topic``), how it is, and what to do about it.

    ``ok``: nothing to do. ``warn``: works, but not well or not always. ``fail``: will not work.
    ``skip``: was not looked at, since something that it needs failed.
    """

    topic: str
    status: Status
    message: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """The finding as JSON values."""
        return asdict(self)
