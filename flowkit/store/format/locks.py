"""Lock a store with ``flock``, which the kernel releases when the process that holds it dies.

A large dataset can be extracted by n runs at once: run i extracts part (i, n) of the videos, and a
run on the whole dataset part (0, 1). There is one lock file for each part. Parts (i, n) and (j, n)
with i ≠ j have no video in common and can be locked at the same time; (i, n) and (j, m) with n ≠ m
cannot.

`hold_store` raises an error if the part is locked already; `wait_for_lock` waits.
"""

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from flowkit.errors import LockedError, StoreError, UsageError
from flowkit.store.format.atomic import convert_disk_errors
from flowkit.store.format.location import refuse_remote

GATE = "gate"
"""Lock file that a process holds for a moment while it locks a part or changes ``store.json``."""
OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
"""Flags with which files that will be locked are opened."""
LOCK_ATTEMPTS = 5
"""Attempts to lock a file, since ``is_locked`` in another process locks it for microseconds."""


@contextmanager
def hold_store(
    root: str | os.PathLike[str], part: tuple[int, int] = (0, 1), shown: Path | None = None
) -> Iterator[None]:
    """Lock one part of a store for writing while the context is open, without waiting.

    Args:
        root: Folder of the store.
        part: The part (i, n) of the dataset; (0, 1) is the whole store.
        shown: The folder that the message of an error names; None for ``root``.

    Raises:
        LockedError: Another process writes to this part, or to one that may share videos with it.
        UsageError: The part is not one with 0 ≤ i < n.
        StoreError: The lock file cannot be written, or the file system has no locks.
    """
    root = Path(root)
    folder = make_lock_folder(root)
    if not 0 <= part[0] < part[1]:
        raise UsageError(f"a part i/n needs 0 ≤ i < n, got {part[0]}/{part[1]}")
    with ExitStack() as stack:
        with wait_for_lock(folder / GATE):
            for locked_part in find_locked_parts(root):
                if locked_part == part or locked_part[1] != part[1]:
                    raise LockedError(describe_conflict(root, part, locked_part, shown))
            path = get_part_lock_path(root, part)
            descriptor = open_lock_file(path)
            stack.callback(os.close, descriptor)
            if not try_lock(descriptor):
                raise LockedError(describe_conflict(root, part, part, shown))
            with convert_disk_errors(path):  # the holder's name is for people to read
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield


def open_lock_file(path: Path) -> int:
    """Open a lock file, created if missing, and return its descriptor."""
    with convert_disk_errors(path):
        return os.open(path, OPEN_FLAGS, 0o666)


def find_locked_parts(root: Path) -> list[tuple[int, int]]:
    """Return the parts (i, n) of a store that are locked now."""
    parts = []
    for path in sorted((root / "locks").glob("part-*-of-*")):
        match = re.fullmatch(r"part-(\d+)-of-(\d+)", path.name)
        if match and is_locked(path):
            parts.append((int(match[1]), int(match[2])))
    return parts


def get_part_lock_path(root: Path, part: tuple[int, int]) -> Path:
    """Return the path of the lock file of part (i, n)."""
    return root / "locks" / f"part-{part[0]}-of-{part[1]}"


def make_lock_folder(root: Path) -> Path:
    """Create the folder ``locks`` of a store if it is missing, and return its path.

    Raises:
        StoreError: The folder cannot be created, or the store is on object storage.
    """
    refuse_remote(root)
    folder = root / "locks"
    with convert_disk_errors(root):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def describe_conflict(
    root: Path, part: tuple[int, int], locked_part: tuple[int, int], shown: Path | None = None
) -> str:
    """Describe which process has locked part ``locked_part``, so that ``part`` cannot be locked."""
    holder = ""
    with suppress(OSError):
        holder = get_part_lock_path(root, locked_part).read_text(errors="replace").strip()
    requested = "the whole folder" if part == (0, 1) else f"part {part[0]}/{part[1]} of the folder"
    i, n = locked_part
    locked = "all of it" if n == 1 else f"part {i}/{n}"
    return (
        f"{shown or root}: expected {requested} to be free, but {holder or 'another process'} is "
        f"writing {locked}; wait for it, or stop it"
    )


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Wait until a file (created if missing) can be locked; lock it while the context is open."""
    descriptor = open_lock_file(path)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Try to lock an open file and return whether it is locked; closing it releases the lock."""
    for attempt in range(LOCK_ATTEMPTS):
        if lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
        time.sleep(0.002 * attempt)
    return False


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is locked through another descriptor; False if it does not exist."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def lock(descriptor: int, operation: int) -> bool:
    """Call ``flock``.

    Returns:
        False if the lock is held elsewhere.

    Raises:
        StoreError: The file system does not support locks.
    """
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"the file system of the store does not support file locks ({error.strerror}), without "
            "which writing is unsafe; mount it with locks (option 'flock' on Lustre), or put the "
            "store on another file system"
        ) from error
    return True
