"""Write files so that a crash leaves either the old content or the new, never a mixture."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowkit.errors import DiskFullError, StoreError

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers that mean that the disk, a quota or the largest file size is exhausted."""


@contextmanager
def convert_disk_errors(path: Path, needed: str = "some MB") -> Iterator[None]:
    """Convert an OSError in the context into a StoreError that tells the user what to do.

    Args:
        path: The file that is written.
        needed: Space that the file needs, for the message.

    Raises:
        DiskFullError: There is no room.
        StoreError: Writing failed for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise StoreError(f"cannot write {path}: {error.strerror}; check the disk") from error
        raise DiskFullError(
            f"disk full while writing {path} ({error.strerror}): {free_space(path.parent)}, "
            f"{needed} needed; free some and run the same command again"
        ) from error


def free_space(folder: Path) -> str:
    """Describe the free space on the disk of a folder, which need not exist."""
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB free"


def write_atomic(path: Path, content: bytes, *, is_shared: bool = False) -> None:
    """Replace a file: write ``<path>.part``, fsync, rename, fsync the folder.

    Two processes that write the same path must hold a lock, or name it as shared.

    Args:
        path: The file to replace.
        content: Its new content.
        is_shared: Whether another process may write the same path now, such as a worker of a run
            that was killed. The unfinished file then has a name of its own.

    Raises:
        DiskFullError: There is no room; the old content is kept.
        StoreError: Writing failed for another reason; the old content is kept.
    """
    own = f".{uuid.uuid4().hex[:8]}" if is_shared else ""
    part = path.with_name(f"{path.name}{own}.part")
    with convert_disk_errors(path):
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
    """Make the names in a folder survive a power cut; StoreError if the disk cannot do it."""
    with convert_disk_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
