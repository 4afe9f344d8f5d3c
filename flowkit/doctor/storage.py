"""Can a store live at this path: room, kind of file system, locks, clock."""

import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from flowkit.doctor.finding import Finding

GB = 1_000_000_000
LITTLE = 5 * GB
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs"}
NETWORK |= {"9p", "afs", "orangefs", "pvfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph"}
VOLATILE = {"tmpfs", "ramfs"}
CLOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Need:
    """What will be stored: a dataset's ``videos``, at about ``bytes_per_video`` each."""

    dataset: str
    videos: int
    bytes_per_video: int


def check_storage(store: Path, need: Need | None = None) -> list[Finding]:
    """All checks of the place where the store is, or will be."""
    place = existing(store)
    return [
        *check_room(store, need),
        *judge_filesystem(filesystem(place), place),
        *check_writing(place),
    ]


def existing(path: Path) -> Path:
    """The nearest folder at or above ``path`` that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.is_dir())


def check_room(store: Path, need: Need | None) -> list[Finding]:
    """Free bytes, against what the rest of the dataset will need."""
    free = shutil.disk_usage(existing(store)).free
    if need is None:
        message = f"{free / GB:.1f} GB free at {store}"
        advice = "name the dataset with --dataset to see what it needs"
        return [Finding("disk", "warn" if free < LITTLE else "ok", message, advice)]
    held = stored_bytes(store)
    rest = max(0, need.videos * need.bytes_per_video - held)
    message = (
        f"{free / GB:.1f} GB free at {store}; {need.videos:,} videos of {need.dataset} need about "
        f"{rest / GB:.1f} GB" + (f" more ({held / GB:.1f} GB are there)" if held else "")
    )
    if free < rest:
        advice = "choose a larger disk with --store, or a part of the dataset with --subset"
        return [Finding("disk", "fail", message, advice)]
    # Estimates are rough, and full file systems slow: a fifth more is wise.
    if free < rest * 1.2:
        return [Finding("disk", "warn", message, "make room: the estimate is rough")]
    return [Finding("disk", "ok", message)]


def stored_bytes(store: Path) -> int:
    """Bytes of files that the store already has; 0 if it is not there yet."""
    if not (store / "store.json").is_file():
        return 0
    return sum(
        (Path(folder) / name).lstat().st_size
        for folder, _, names in os.walk(store)
        for name in names
    )


def filesystem(place: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that ``place`` is on; "" where /proc does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return ""
    best, kind = "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        # mountinfo writes blanks in paths as octal escapes
        point = left.split()[4].replace("\\040", " ")
        if place.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


def judge_filesystem(kind: str, place: Path) -> list[Finding]:
    """Network file systems need locks that reach all nodes; memory does not survive."""
    if kind in NETWORK:
        message = f"{place} is on a network file system ({kind})"
        advice = (
            "good for a cluster if locks reach every node: NFS 4, or Lustre mounted with 'flock'"
        )
        return [Finding("file system", "warn", message, advice)]
    if kind in VOLATILE:
        message = f"{place} is in memory ({kind}) and is gone after a restart"
        return [Finding("file system", "warn", message, "choose a path on a disk with --store")]
    return [
        Finding("file system", "ok", f"{place} is on {kind or 'a file system of unknown type'}")
    ]


def check_writing(place: Path) -> list[Finding]:
    """Write, lock and date a file there: the store needs all three."""
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".flowkit-doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
            skew = os.fstat(file.fileno()).st_mtime - time.time()
            locks = check_lock(file.fileno(), place)
    except OSError as error:
        message = f"cannot write to {place}: {error.strerror}"
        return [Finding("writing", "fail", message, "choose another path with --store")]
    return [*locks, *judge_clock(skew, place)]


def check_lock(descriptor: int, place: Path) -> list[Finding]:
    """Whether ``flock`` works, which keeps two runs from writing one store."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        message = f"files in {place} cannot be locked: {error.strerror}"
        return [Finding("locks", "fail", message, "mount it with locks ('flock' on Lustre)")]
    return [Finding("locks", "ok", f"files in {place} can be written and locked")]


def judge_clock(skew: float, place: Path) -> list[Finding]:
    """The clock, against the file server's (seconds that the server is ahead)."""
    if time.time() < 1_700_000_000:
        message = f"the clock says {time.strftime('%Y-%m-%d')}"
        return [Finding("clock", "warn", message, "set the clock (timedatectl set-ntp true)")]
    if abs(skew) > CLOCK_SECONDS:
        message = f"the clock of {place} is {skew:+.0f} s off this machine's"
        return [Finding("clock", "warn", message, "set both clocks by NTP")]
    return [Finding("clock", "ok", "the clock agrees with the file system's")]
