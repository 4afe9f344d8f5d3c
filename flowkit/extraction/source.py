"""The video file that rows come from: that it can be read, and is the same to the end."""

from pathlib import Path

from flowkit.decode.container import read_head
from flowkit.errors import VideoError
from flowkit.store import Fingerprint


def fingerprint_source(path: Path) -> Fingerprint:
    """The source's fingerprint; VideoError where it is no regular, readable, non-empty file."""
    read_head(path)
    try:
        return Fingerprint.of(path)
    except OSError as error:
        raise VideoError("unreadable", f"{path} cannot be read: {error.strerror}") from error


def check_unchanged(path: Path, fingerprint: Fingerprint) -> None:
    """VideoError where the source is no longer the file whose rows are about to count."""
    if fingerprint_source(path) != fingerprint:
        raise VideoError("changed", f"{path} changed while it was read; run again")
