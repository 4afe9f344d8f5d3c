"""Lock a store with ``flock``, which the kernel releases when the process that holds it dies.

A large dataset can be extracted by several runs at once; run i of n works on part (i, n) of the
videos. There is one lock file for each part. A run on the whole dataset holds part (0, 1), so one
rule is enough: a part cannot be locked while the same part, or a part of another n, is locked.
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
from flowkit.store.format.atomic import disk_errors

OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
LOCK_ATTEMPTS = 5
"""``is_locked`` in another process holds a lock for microseconds, so a refusal is tried again."""


@contextmanager
def hold_store(root: str | os.PathLike[str], part: tuple[int, int] = (0, 1)) -> Iterator[None]:
    """Lock one part of a store for writing while the context is open.

    Args:
        root: Folder of the store.
        part: The part (i, n) of the dataset; (0, 1) is the whole store.

    Raises:
        LockedError: Another process writes to this part, or to a part of another n.
    """
    root = Path(root)
    folder = make_lock_folder(root)
    if not 0 <= part[0] < part[1]:
        raise UsageError(f"a part i/n needs 0 ≤ i < n, got {part[0]}/{part[1]}")
    with ExitStack() as stack:
        with hold_lock(folder / "gate"):
            for other in find_locked_parts(root):
                if other == part or other[1] != part[1]:
                    raise LockedError(describe_conflict(root, part, other))
            path = lock_path(root, part)
            descriptor = open_lock_file(path)
            stack.callback(os.close, descriptor)
            if not try_lock(descriptor):
                raise LockedError(describe_conflict(root, part, part))
            with disk_errors(path):  # the holder's name is for people to read
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield


def open_lock_file(path: Path) -> int:
    """Open a lock file, and create it if it is missing; returns its descriptor."""
    with disk_errors(path):
        return os.open(path, OPEN_FLAGS, 0o666)


def find_locked_parts(root: Path) -> list[tuple[int, int]]:
    """Return the parts (i, n) of a store that are locked now."""
    parts = []
    for path in sorted((root / "locks").glob("part-*-of-*")):
        match = re.fullmatch(r"part-(\d+)-of-(\d+)", path.name)
        if match and is_locked(path):
            parts.append((int(match[1]), int(match[2])))
    return parts


def lock_path(root: Path, part: tuple[int, int]) -> Path:
    """Return the path of the lock file of part (i, n)."""
    return root / "locks" / f"part-{part[0]}-of-{part[1]}"


def make_lock_folder(root: Path) -> Path:
    """Create the folder ``locks`` of a store if it is missing, and return its path."""
    folder = root / "locks"
    with disk_errors(root):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def describe_conflict(root: Path, part: tuple[int, int], other: tuple[int, int]) -> str:
    """Describe who holds part ``other`` of a store, so that ``part`` cannot be locked."""
    holder = ""
    with suppress(OSError):
        holder = lock_path(root, other).read_text(errors="replace").strip()
    wanted = "the whole store" if part == (0, 1) else f"part {part[0]}/{part[1]} of the store"
    locked = "all of it" if other == (0, 1) else f"part {other[0]}/{other[1]}"
    return (
        f"{root}: expected {wanted} to be free, but {holder or 'another process'} is writing "
        f"{locked}; wait for it, or stop it"
    )


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Lock a file (created if missing) while the context is open; waits as long as it takes."""
    descriptor = open_lock_file(path)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file if nobody else has; closing the descriptor releases the lock."""
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
            f"the store's file system refuses file locks ({error.strerror}), without which "
            "writing is unsafe; mount it with flock, or put the store elsewhere"
        ) from error
    return True
