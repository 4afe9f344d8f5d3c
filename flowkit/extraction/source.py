"""Check that a source can be read, and that it does not change while it is extracted.

The source of a video is a file or a frame folder. The fingerprint of a folder has the sum of the
sizes of its images, and the newest time of an image or of the folder itself, which changes when
files are added, removed or renamed. Its digest covers the names and sizes of all images, and the
content of `SAMPLED_FRAMES` of them.
"""

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flowkit.caches import is_folder
from flowkit.decode.container import read_head
from flowkit.errors import VideoError
from flowkit.frame_files import holds_images, list_frames
from flowkit.path_text import printable_path
from flowkit.store import Fingerprint

SAMPLED_FRAMES = 16
"""Evenly spaced images whose content the digest of a frame folder covers."""
SAMPLED_BYTES = 1 << 20
"""Bytes at the start of each of these images that the digest covers."""


@dataclass(frozen=True, slots=True)
class FolderScan:
    """Names, sizes and times of the images of a frame folder."""

    sizes: dict[str, int]
    """Size of each image in bytes, by file name, in the order of the frames."""
    newest_image_ns: int
    """Modification time of the newest image, in nanoseconds since 1970."""
    folder_ns: int
    """Modification time of the folder."""

    @property
    def size(self) -> int:
        """Return the sum of the sizes in bytes."""
        return sum(self.sizes.values())

    @property
    def mtime_ns(self) -> int:
        """Return the newest time."""
        return max(self.newest_image_ns, self.folder_ns)


def scan_folder(path: Path) -> FolderScan:
    """Read the sizes and times of the images of a frame folder.

    Args:
        path: The folder.

    Raises:
        VideoError: The images are not the frames of one video; see `list_frames`. ``not-a-file``:
            one is a pipe or a device.
        OSError: An image cannot be accessed.
    """
    folder_ns = path.stat().st_mtime_ns
    sizes, newest = {}, 0
    prefix = os.path.join(path, "")  # noqa: PTH118 (one Path per image would take most of the time)
    for name in list_frames(path):
        status = os.stat(prefix + name)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            image = printable_path(f"{path.name}/{name}")
            raise VideoError("not-a-file", f"{image}: expected an image, got a special file")
        sizes[name] = status.st_size
        newest = max(newest, status.st_mtime_ns)
    return FolderScan(sizes, newest, folder_ns)


def compute_fingerprint(path: Path) -> Fingerprint:
    """Compute the fingerprint of a file or a frame folder.

    Raises:
        VideoError: The images of the folder are not the frames of one video.
        OSError: It cannot be read.
    """
    if not is_folder(path):
        return Fingerprint.of(path)
    scan, digest = scan_folder(path), hashlib.blake2b(digest_size=16)
    for name, size in scan.sizes.items():
        digest.update(b"%s\0%d\0" % (os.fsencode(name), size))
    names, count = list(scan.sizes), min(SAMPLED_FRAMES, len(scan.sizes))
    for index in range(count):
        name = names[index * (len(names) - 1) // max(1, count - 1)]
        with (path / name).open("rb") as file:
            digest.update(file.read(SAMPLED_BYTES))
    return Fingerprint(scan.size, scan.mtime_ns, digest.hexdigest())


def fingerprint_source(path: Path) -> Fingerprint:
    """Return the fingerprint of a source.

    Raises:
        VideoError: It is neither a regular, readable, non-empty file nor a frame folder.
    """
    if not is_folder(path):
        read_head(path)
    elif not holds_images(path):
        name = printable_path(path.name)
        expected = "expected a video file, or a folder with the images of a video"
        raise VideoError("not-a-file", f"{name}: {expected}; got a folder without images")
    try:
        return compute_fingerprint(path)
    except OSError as error:
        name = printable_path(error.filename or path)
        raise VideoError("unreadable", f"{name} cannot be read: {error.strerror}") from error


def check_unchanged(path: Path, fingerprint: Fingerprint) -> None:
    """Raise a VideoError if the source has changed since ``fingerprint`` was computed."""
    current = fingerprint_source(path)
    if is_folder(path):
        # The folder's own time also changes with files that are no frames, such as Thumbs.db.
        is_same = current.same_content(fingerprint) and (
            current.mtime_ns == fingerprint.mtime_ns
            or scan_folder(path).newest_image_ns <= fingerprint.mtime_ns
        )
    else:
        is_same = current == fingerprint
    if not is_same:
        raise VideoError("changed", f"{path} changed while it was read; run again")


def check_may_have_sound(path: Path) -> None:
    """Raise the VideoError of a video without sound if the source is a frame folder."""
    if is_folder(path):
        name = printable_path(path.name)
        raise VideoError("no-audio-stream", f"{name}: a folder of images has no audio stream")


def measure_source(path: Path) -> tuple[int, int]:
    """Return the size in bytes and the modification time in nanoseconds of a source.

    The values are those of its fingerprint. Of a folder whose images are not the frames of one
    video, they are the size and time of the folder itself.

    Raises:
        OSError: It cannot be accessed.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        with suppress(VideoError):
            scan = scan_folder(path)
            return scan.size, scan.mtime_ns
    return status.st_size, status.st_mtime_ns


def measure_file(path: Path) -> tuple[int, int] | None:
    """Return the size and time of a video file, as `measure_source` does, with one system call.

    Returns:
        None for a folder, or if it cannot be accessed.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 (there may be a million)
    except OSError:
        return None
    return None if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)


def has_changed(path: Path, stored: Fingerprint, file: tuple[int, int] | None = None) -> bool:
    """Return whether a source differs from the one that was extracted.

    A source with the same size and modification time has not changed. Otherwise its content is
    compared, so that copying a dataset does not count as a change. A source that is missing or
    cannot be read has not changed.

    Args:
        path: The source.
        stored: Fingerprint of the source that was extracted.
        file: What `measure_file` returned for the source, if it was asked already.
    """
    try:
        current = file or measure_source(path)
        if current == (stored.size, stored.mtime_ns):
            return False
        return not compute_fingerprint(path).same_content(stored)
    except VideoError as error:  # images of a frame folder were removed or renamed
        return error.kind != "unreadable"
    except OSError:
        return False
