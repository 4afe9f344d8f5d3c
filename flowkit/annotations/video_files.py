"""Find the video files in a folder and all of its subfolders."""

import os
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from flowkit.errors import UsageError
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


def list_videos(root: Path) -> list[str]:
    """List everything below ``root`` whose name has a video extension.

    Hidden files and folders are skipped. Symbolic links are followed. Each real folder is visited
    once, under its own name rather than that of a link, so circular links do no harm. Broken links
    are listed, and so are folders whose name has a video extension and that contain no video:
    decoding them then fails with a reason, whereas skipping them would hide the problem.

    Args:
        root: The folder to search.

    Returns:
        Paths relative to ``root``, with "/" as separator, sorted. They are strings as
        :mod:`flowkit.path_text` defines them: the file is ``root / text_to_path(path)``.

    Raises:
        UsageError: ``root`` is not a folder, or a folder below it cannot be listed.
    """
    if not root.is_dir():
        raise UsageError(f"expected a folder of videos, found none at {root}; check the path")
    files: list[str] = []
    folders: list[str] = []
    for path, is_folder in walk_entries(root):
        (folders if is_folder else files).append(path_to_text(path))
    files.sort()
    # Add the folders that have a video extension but contain no listed path. The deepest come
    # first, so that of nested ones only the innermost is added. `files` is sorted, so paths below a
    # folder are consecutive, and one binary search finds out whether there are any.
    for path in sorted(folders, key=lambda path: -path.count("/")):
        index = bisect_left(files, path + "/")
        if index == len(files) or not files[index].startswith(path + "/"):
            files.insert(bisect_left(files, path), path)
    return files


def has_videos(root: Path) -> bool:
    """Return whether ``root`` is a folder that contains a video file at any depth."""
    return root.is_dir() and any(not is_folder for _, is_folder in walk_entries(root))


def walk_entries(root: Path) -> Iterator[tuple[str, bool]]:
    """Walk over all files and folders below ``root`` whose name has a video extension.

    Args:
        root: The folder to search.

    Yields:
        The path relative to ``root``, and whether it is a folder.

    Raises:
        UsageError: A folder cannot be listed.
    """
    visited: set[tuple[int, int]] = set()
    folders, linked_folders = [""], list[str]()
    while folders or linked_folders:
        # Links come last, so that their target has already been visited under its own name.
        folder = folders.pop() if folders else linked_folders.pop(0)
        stat_result = (root / folder).stat()
        if (stat_result.st_dev, stat_result.st_ino) in visited:
            continue
        visited.add((stat_result.st_dev, stat_result.st_ino))
        for entry in list_folder(root / folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (linked_folders if entry.is_symlink() else folders).append(path)
            if is_video(entry.name):
                yield path, entry.is_dir()


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
        raise UsageError(
            f"cannot list the folder {folder}: {error.strerror}; make it readable or move it away"
        ) from error
