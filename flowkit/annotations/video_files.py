"""Find the videos in a folder and all of its subfolders: video files and frame folders.

A folder is a frame folder, and its path the id of a video, if

- images are directly in it, and one of their names has a number (flowkit/frame_files.py);
- no video is in it or below it: images beside videos are thumbnails or posters;
- its images are not named after video files of the folder above, as thumbnails are.

With ``frames_only``, every folder that images are directly in is a video, and files are not.
"""

import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowkit.errors import UsageError
from flowkit.frame_files import DIGITS, IMAGE_FORMATS, holds_images, is_folder
from flowkit.path_text import path_to_text

# fmt: off
VIDEO_EXTENSIONS = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts",
    ".vob", ".webm", ".wmv", ".y4m",
})
# fmt: on


def is_video(name: str) -> bool:
    """Return whether a file name has a video extension, in upper or lower case."""
    _, dot, extension = name.rpartition(".")
    return dot + extension.lower() in VIDEO_EXTENSIONS


def get_stem(path: str) -> str:
    """Return the name of a file without its folders and extension.

    ``pathlib`` needs seconds for 250,000 paths, so it is not used here.

    Args:
        path: A path with "/" as separator.

    Returns:
        The stem.
    """
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def list_videos(root: Path, frames_only: bool = False) -> list[str]:
    """List the video files and the frame folders below ``root``.

    Hidden files and folders are skipped. Symbolic links are followed. Each real folder is visited
    once, under its own name rather than that of a link, so circular links do no harm. Broken links
    are listed, and so are folders whose name has a video extension and that contain no video:
    decoding them then fails with a reason, whereas skipping them would hide the problem.

    Args:
        root: The folder to search. It is not listed itself.
        frames_only: List every folder below ``root`` that images are directly in, and no files.

    Returns:
        Paths relative to ``root``, with "/" as separator, sorted. They are strings as
        :mod:`flowkit.path_text` defines them: the file or folder is ``root / text_to_path(path)``.

    Raises:
        UsageError: ``root`` is not a folder, or a folder below it cannot be listed.
    """
    if not root.is_dir():
        raise UsageError(f"expected a folder of videos, found none at {root}; check the path")
    files: list[str] = []
    folders: list[str] = []
    for content in walk_folders(root):
        path = path_to_text(content.path)
        if frames_only:
            folders += [path] if path and content.has_images else []
            continue
        files += [path_to_text(file) for file in content.video_files]
        if path and (content.has_frames or is_video(path)):
            folders.append(path)
    files.sort()
    # Add the folders that contain no listed path. The deepest come first, so that of nested ones
    # only the innermost is added. `files` is sorted, so paths below a folder are consecutive, and
    # one binary search finds out whether there are any.
    for path in sorted(folders, key=lambda path: -path.count("/")):
        index = bisect_left(files, path + "/")
        if frames_only or index == len(files) or not files[index].startswith(path + "/"):
            files.insert(bisect_left(files, path), path)
    return files


def has_videos(root: Path) -> bool:
    """Return whether ``root`` is a folder that contains a video at any depth."""
    return root.is_dir() and any(
        content.video_files or (content.path and content.has_frames)
        for content in walk_folders(root)
    )


def is_frame_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder with images directly in it, and no video below it."""
    return holds_images(path) and not list_videos(path)


@dataclass(frozen=True, slots=True)
class FolderContent:
    """The videos and images directly in one folder."""

    path: str
    """Path of the folder relative to the root; "" for the root."""
    video_files: list[str]
    """Paths of its entries that have a video extension and are not folders."""
    has_images: bool
    """Whether an image is directly in it."""
    has_frames: bool
    """Whether images are directly in it that may be the frames of a video."""


def walk_folders(root: Path) -> Iterator[FolderContent]:
    """Visit ``root`` and all visible folders below it.

    Args:
        root: The folder to search.

    Yields:
        What is directly in each folder; a folder comes before those below it.

    Raises:
        UsageError: A folder cannot be listed.
    """
    visited: set[tuple[int, int]] = set()
    folders, linked_folders = [""], list[str]()
    stems_by_folder: dict[str, frozenset[str]] = {}
    while folders or linked_folders:
        # Links come last, so that their target has already been visited under its own name.
        folder = folders.pop() if folders else linked_folders.pop(0)
        identity = identify_folder(root / folder)
        if identity in visited:
            continue
        visited.add(identity)
        video_files: list[str] = []
        images: list[str] = []
        has_folders = False
        for entry in list_folder(root / folder):
            name = entry.name
            if name.startswith("."):
                continue
            if is_folder(entry):
                has_folders = True
                path = f"{folder}/{name}" if folder else name
                (linked_folders if entry.is_symlink() else folders).append(path)
                continue
            # Not by `is_video` and `is_image`: there may be millions of images.
            _, dot, extension = name.rpartition(".")
            extension = dot + extension.lower()
            if extension in IMAGE_FORMATS:
                images.append(name)
            elif extension in VIDEO_EXTENSIONS:
                video_files.append(f"{folder}/{name}" if folder else name)
        if has_folders and video_files:
            stems_by_folder[folder] = frozenset(map(get_stem, video_files))
        stems = stems_by_folder.get(folder.rpartition("/")[0], frozenset())
        yield FolderContent(
            folder, video_files, bool(images), not video_files and may_be_frames(images, stems)
        )


def may_be_frames(images: list[str], video_stems: frozenset[str]) -> bool:
    """Return whether the images of a folder may be the frames of a video.

    Args:
        images: Names of the images.
        video_stems: Names of the video files in the folder above, without extension.

    Returns:
        True if a name has a number, and no name is that of a video file.
    """
    return any(DIGITS.search(get_stem(name)) for name in images) and (
        not video_stems or video_stems.isdisjoint(map(get_stem, images))
    )


def identify_folder(folder: Path) -> tuple[int, int]:
    """Return the device and the inode of a folder.

    Args:
        folder: The folder.

    Raises:
        UsageError: The folder above it cannot be entered.
    """
    try:
        status = folder.stat()
    except OSError as error:
        raise make_folder_error(folder, error) from error
    return status.st_dev, status.st_ino


def list_folder(folder: Path) -> list["os.DirEntry[str]"]:
    """List the entries of a folder, sorted by name.

    Args:
        folder: The folder.

    Returns:
        Its entries.

    Raises:
        UsageError: The folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise make_folder_error(folder, error) from error


def make_folder_error(folder: Path, error: OSError) -> UsageError:
    """Make the error for a folder that cannot be listed."""
    return UsageError(
        f"cannot list the folder {folder}: {error.strerror}; make it readable or move it away"
    )
