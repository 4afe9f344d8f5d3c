"""Finding the video files below a folder, in one walk."""

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
    """Whether the file name has the extension of a video, in any case."""
    _, dot, extension = name.rpartition(".")
    return dot + extension.lower() in VIDEO_EXTENSIONS


def stem(path: str) -> str:
    """The file's name without folders and extension; pathlib takes seconds for 250,000."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def walk_videos(root: Path) -> list[str]:
    """Paths below ``root`` of everything named like a video, "/"-separated and sorted.

    They are text (see :mod:`flowkit.path_text`): ``root / text_to_path(path)`` is the file.

    Hidden files and folders are skipped. Symbolic links are followed; each real folder is
    walked once, under its own name rather than a link's, so loops end. A link that leads
    nowhere is listed, and so is a folder named like a video that has no video below it:
    decoding such a thing fails with a reason, where skipping it would hide it.
    Raises UsageError if ``root`` is no folder, or a folder below it cannot be listed.
    """
    if not root.is_dir():
        raise UsageError(f"expected a folder of videos, found none at {root}; check the path")
    found: list[str] = []
    folders: list[str] = []
    for path, is_folder in visit(root):
        (folders if is_folder else found).append(path_to_text(path))
    found.sort()
    for path in sorted(folders, key=lambda path: -path.count("/")):
        position = bisect_left(found, path + "/")
        if position == len(found) or not found[position].startswith(path + "/"):
            found.insert(bisect_left(found, path), path)
    return found


def holds_videos(root: Path) -> bool:
    """Whether ``root`` is a folder with a file named like a video at any depth below."""
    return root.is_dir() and any(not is_folder for _, is_folder in visit(root))


def visit(root: Path) -> Iterator[tuple[str, bool]]:
    """What is named like a video below ``root``, as (path, whether it is a folder)."""
    seen: set[tuple[int, int]] = set()
    real, links = [""], list[str]()
    while real or links:
        # Links come last, so that what they lead to is already seen under its own name.
        folder = real.pop() if real else links.pop(0)
        status = (root / folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in list_folder(root / folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else real).append(path)
            if is_video(entry.name):
                yield path, entry.is_dir()


def list_folder(folder: Path) -> list["os.DirEntry[str]"]:
    """The entries of ``folder``; UsageError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(
            f"cannot list the folder {folder}: {error.strerror}; make it readable or move it away"
        ) from error
