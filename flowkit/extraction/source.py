"""Check that a source can be read, and that it does not change while it is extracted."""

from pathlib import Path

from flowkit.decode.container import read_head
from flowkit.errors import VideoError
from flowkit.store import Fingerprint


def fingerprint_source(path: Path) -> Fingerprint:
    """Return the fingerprint of a source.

    Raises:
        VideoError: It is not a regular, readable, non-empty file.
    """
    read_head(path)
    try:
        return Fingerprint.of(path)
    except OSError as error:
        raise VideoError("unreadable", f"{path} cannot be read: {error.strerror}") from error


def check_unchanged(path: Path, fingerprint: Fingerprint) -> None:
    """Raise a VideoError if the source has changed since ``fingerprint`` was computed."""
    if fingerprint_source(path) != fingerprint:
        raise VideoError("changed", f"{path} changed while it was read; run again")
