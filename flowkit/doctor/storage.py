"""Check whether a path is suitable for a store: free space, type of file system, locks, clock."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flowkit.caches import is_folder
from flowkit.doctor.finding import Finding

GB = 1_000_000_000
LOW_SPACE = 5 * GB
"""Free bytes below which a warning is given if the dataset is unknown."""
NETWORK_TYPES = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "glusterfs",
    "gpfs", "lustre", "nfs", "nfs4", "orangefs", "pvfs2", "smb3", "smbfs",
}  # fmt: skip
"""Types of network file systems."""
MEMORY_TYPES = {"tmpfs", "ramfs"}
"""Types of file systems that are kept in memory."""
CLOCK_SECONDS = 5.0
"""Allowed difference between the clocks of this machine and of the file server, in seconds."""


@dataclass(frozen=True, slots=True)
class RequiredSpace:
    """The space that the store of a dataset will need."""

    dataset: str
    """Name of the dataset."""
    videos: int
    """Number of videos to store."""
    bytes_per_video: int
    """Estimated bytes of a stored video."""


def check_storage(store_path: Path, required: RequiredSpace | None = None) -> list[Finding]:
    """Run all checks of the path of a store.

    Args:
        store_path: Path where the store is or will be.
        required: Space that the store will need, if it is known.

    Returns:
        The findings.
    """
    folder = find_existing_folder(store_path)
    return [
        *check_free_space(store_path, required),
        *check_filesystem(find_filesystem_type(folder), folder),
        *check_writing(folder),
    ]


def find_existing_folder(path: Path) -> Path:
    """Find the nearest folder at or above a path that exists and that this user can see."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if is_folder(folder))


def check_free_space(store_path: Path, required: RequiredSpace | None) -> list[Finding]:
    """Check that there is enough free space for the videos that are not stored yet.

    Args:
        store_path: Path where the store is or will be.
        required: Space that the store will need, if it is known.

    Returns:
        One finding.
    """
    free = shutil.disk_usage(find_existing_folder(store_path)).free
    if required is None:
        message = f"{free / GB:.1f} GB free at {store_path}"
        advice = "name the dataset with --dataset to see how much space it needs"
        return [Finding("disk", "warn" if free < LOW_SPACE else "ok", message, advice)]
    stored = count_stored_bytes(store_path)
    missing_bytes = max(0, required.videos * required.bytes_per_video - stored)
    message = (
        f"{free / GB:.1f} GB free at {store_path}; {required.videos:,} videos of "
        f"{required.dataset} need about {missing_bytes / GB:.1f} GB"
        + (f" more ({stored / GB:.1f} GB are there)" if stored else "")
    )
    if free < missing_bytes:
        advice = "choose a larger disk with --store, or extract less: flowkit extract --subset"
        return [Finding("disk", "fail", message, advice)]
    # The estimate is rough, and nearly full file systems are slow, so a fifth more is required.
    if free < missing_bytes * 1.2:
        return [Finding("disk", "warn", message, "free more space: the estimate is rough")]
    return [Finding("disk", "ok", message)]


def count_stored_bytes(store_path: Path) -> int:
    """Count the bytes of the files in a store; 0 if it does not exist yet, or cannot be seen."""
    size = 0
    if os.path.isfile(store_path / "store.json"):  # noqa: PTH113 (is_file raises below a locked folder)
        for folder, _, names in os.walk(store_path):
            for name in names:
                with suppress(OSError):  # such as a file that a running extraction has removed
                    size += (Path(folder) / name).lstat().st_size
    return size


def find_filesystem_type(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Find the type of the file system that holds a folder.

    Args:
        folder: The folder.
        mounts: File of Linux that lists the mounted file systems.

    Returns:
        The type, such as ``ext4``; "" if the file does not exist or does not tell.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return ""
    longest, filesystem_type = "", ""
    for line in lines:
        mount_fields, _, type_fields = line.partition(" - ")
        # mountinfo writes blanks in paths as octal escapes.
        mount_point = mount_fields.split()[4].replace("\\040", " ")
        if folder.resolve().is_relative_to(mount_point) and len(mount_point) >= len(longest):
            longest, filesystem_type = mount_point, type_fields.split()[0]
    return filesystem_type


def check_filesystem(filesystem_type: str, folder: Path) -> list[Finding]:
    """Warn about network file systems, which need locks, and about those in memory.

    Args:
        filesystem_type: Type of the file system; "" if it is unknown.
        folder: Folder on it.

    Returns:
        One finding.
    """
    if filesystem_type in NETWORK_TYPES:
        message = f"{folder} is on a network file system ({filesystem_type})"
        advice = "check that locks reach every node: use NFS 4, or mount Lustre with 'flock'"
        return [Finding("file system", "warn", message, advice)]
    if filesystem_type in MEMORY_TYPES:
        message = f"{folder} is in memory ({filesystem_type}) and is gone after a restart"
        return [Finding("file system", "warn", message, "choose a path on a disk with --store")]
    name = filesystem_type or "a file system of unknown type"
    return [Finding("file system", "ok", f"{folder} is on {name}")]


def check_writing(folder: Path) -> list[Finding]:
    """Check that files in a folder can be written and locked, and have the right time.

    Args:
        folder: An existing folder, in which a temporary file is written.

    Returns:
        The findings.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".flowkit-doctor-") as file:
            file.write(b"x")
            file.flush()
            written = time.time()
            os.fsync(file.fileno())  # may take long, and gives a file server the content
            skew = os.fstat(file.fileno()).st_mtime - written
            locks = check_lock(file.fileno(), folder)
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror}"
        return [Finding("writing", "fail", message, "choose another path with --store")]
    return [*locks, *check_clock(skew, folder)]


def check_lock(descriptor: int, folder: Path) -> list[Finding]:
    """Check that ``flock`` works, which keeps two runs from writing to one store.

    Args:
        descriptor: Descriptor of an open file.
        folder: Folder that holds the file.

    Returns:
        One finding.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        message = f"files in {folder} cannot be locked: {error.strerror}"
        advice = "mount the file system with locks (option 'flock' on Lustre)"
        return [Finding("locks", "fail", message, advice)]
    return [Finding("locks", "ok", f"files in {folder} can be written and locked")]


def check_clock(skew: float, folder: Path) -> list[Finding]:
    """Check the clock of this machine against that of the file server.

    Args:
        skew: Seconds by which the file server is ahead.
        folder: Folder on the file server.

    Returns:
        One finding.
    """
    if time.time() < 1_700_000_000:
        message = f"the date of this machine is {time.strftime('%Y-%m-%d')}"
        return [Finding("clock", "warn", message, "set the clock (timedatectl set-ntp true)")]
    if abs(skew) > CLOCK_SECONDS:
        message = f"the clock of {folder} is {skew:+.0f} s off this machine's"
        return [Finding("clock", "warn", message, "set both clocks by NTP")]
    return [Finding("clock", "ok", "the clock agrees with the file system's")]
