"""Writing files so that after a crash there is the old content or the new, never a mixture."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowkit.errors import DiskFullError, StoreError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(path: Path, need: str = "some MB") -> Iterator[None]:
    """Turn an OSError while writing ``path`` into DiskFullError (no room) or StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise StoreError(f"cannot write {path}: {error.strerror}; check the disk") from error
        raise DiskFullError(
            f"disk full while writing {path} ({error.strerror}): {free_space(path.parent)}, "
            f"{need} needed; free some and run the same command again"
        ) from error


def free_space(folder: Path) -> str:
    """What is free on the disk of ``folder``, for messages."""
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB free"


def write_atomic(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: write ``<path>.part``, fsync, rename, fsync the folder.

    Two writers of one path must hold a lock. DiskFullError or StoreError leave the old content.
    """
    part = path.with_name(path.name + ".part")
    with disk_errors(path):
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
