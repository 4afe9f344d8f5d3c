"""Locks on a store: ``flock`` on files, which the kernel lets go when their holder dies.

One lock file for each part i/n of a dataset. A whole run is part 0 of 1, so one rule serves all:
a part is refused while a part of another n, or the same part, is held.
"""

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowkit.errors import LockedError, StoreError, UsageError
from flowkit.store.format.atomic import disk_errors

FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
PROBES = 5
"""Another process's is_locked holds a lock for microseconds: so a refusal is tried again."""


@contextmanager
def hold_store(root: str | os.PathLike[str], part: tuple[int, int] = (0, 1)) -> Iterator[None]:
    """Hold part ``(i, n)`` of the store for writing; LockedError where others exclude it."""
    folder = make_locks(Path(root))
    number, parts = part
    if not 0 <= number < parts:
        raise UsageError(f"a part i/n needs 0 ≤ i < n, got {number}/{parts}")
    with exclusive(folder / "gate"):
        for other in held_parts(Path(root)):
            if other == part or other[1] != parts:
                raise LockedError(describe(Path(root), part, other))
        mine = take(Path(root), part)
    try:
        yield
    finally:
        os.close(mine)


def take(root: Path, part: tuple[int, int]) -> int:
    """A descriptor that holds a part's lock, with the holder's name in the file, for people."""
    path = lock_path(root, part)
    descriptor = open_lock(path)
    try:
        if not try_lock(descriptor):
            raise LockedError(describe(root, part, part))
        with disk_errors(path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_lock(path: Path) -> int:
    """A descriptor of a lock file, made where it is missing."""
    with disk_errors(path):
        return os.open(path, FLAGS, 0o666)


def held_parts(root: Path) -> list[tuple[int, int]]:
    """The parts (i, n) of a store that are held now."""
    held = []
    for path in sorted((root / "locks").glob("part-*-of-*")):
        match = re.fullmatch(r"part-(\d+)-of-(\d+)", path.name)
        if match and is_locked(path):
            held.append((int(match[1]), int(match[2])))
    return held


def lock_path(root: Path, part: tuple[int, int]) -> Path:
    """The lock file of part (i, n)."""
    return root / "locks" / f"part-{part[0]}-of-{part[1]}"


def make_locks(root: Path) -> Path:
    """The folder ``locks`` of a store, made where it is missing."""
    folder = root / "locks"
    with disk_errors(root):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def describe(root: Path, part: tuple[int, int], other: tuple[int, int]) -> str:
    """Describe who holds part ``other`` of a store, so that ``part`` cannot be locked."""
    holder = ""
    with suppress(OSError):
        holder = lock_path(root, other).read_text(errors="replace").strip()
    wanted = "the whole store" if part == (0, 1) else f"part {part[0]}/{part[1]} of the store"
    theirs = "all of it" if other == (0, 1) else f"part {other[0]}/{other[1]}"
    return (
        f"{root}: expected {wanted} to be free, but {holder or 'another process'} is writing "
        f"{theirs}; wait for it, or stop it"
    )


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold ``path`` (made where missing), waiting as long as it takes."""
    descriptor = open_lock(path)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock on an open file if nobody has it; closing the descriptor lets it go."""
    for probe in range(PROBES):
        if lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
        time.sleep(0.002 * probe)
    return False


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether another open file holds ``path``; False where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def lock(descriptor: int, operation: int) -> bool:
    """``flock``; False where somebody else has it, StoreError where the disk knows no locks."""
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
