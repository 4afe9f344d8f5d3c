"""Find the video of each row of a label file, by path, file name or stem.

The ways are tried in this order; a video that was found is not considered again:

    path            the row has the path of the video below the folder
    path, no ext.   the same without the extension, or with the extension of another video format
    name            the row's path ends with that of the video, or the video's with that of the row:
                    ``a.mp4`` for x/a.mp4, ``/data/clips/x/a.mp4`` for x/a.mp4
    stem            the same without extension
    name elsewhere  only if no row was found so far: the file name alone, in any folder

A row that several videos fit equally well is ambiguous, and so is a video that several rows fit: it
is unclear which is meant, so neither is used.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flowkit.annotations.table import normalize_unicode
from flowkit.annotations.video_files import is_video

PREFIXES = re.compile(r"^(?:\./+)+|(?<=/)(?:\./+|/+)")
"""Parts of a path that do not change where it leads."""


@dataclass(slots=True)
class Matches:
    """Which row describes which video."""

    row_by_video: list[int]
    """Index of the row of each video, −1 if there is none."""
    counts: dict[str, int] = field(default_factory=dict)
    """Number of videos that were found in each way, such as "by file name"."""
    missing: list[int] = field(default_factory=list)
    """Rows for which there is no video, ascending."""
    ambiguous_rows: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """The videos that fit a row equally well, by row."""
    ambiguous_videos: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """The rows that fit a video equally well, by video."""


def match_rows(
    names: Sequence[str], videos: Sequence[str], folder: str = "", prefix: str = ""
) -> Matches:
    """Find the video of each row.

    Args:
        names: The path or name of a video that each row has, each once.
        videos: Paths of the videos below their folder, or ids of videos, each once.
        folder: Folder of the label file below that of the videos, to which paths in it may be
            relative; "" if it is elsewhere.
        prefix: What may stand before the name of a row in the name of its video.

    Returns:
        The matches.
    """
    matcher = Matcher(normalize_paths(names), normalize_paths(videos))
    if folder:
        matcher.match_equal("by path beside the label file", lambda name: f"{folder}/{name}", str)
    matcher.match_equal("by path", str, str)
    matcher.match_equal("by path without extension", remove_extension, remove_extension)
    matcher.match_endings("by file name", lambda path: path)
    matcher.match_endings("by file name without extension", remove_extension)
    if prefix:
        matcher.match_equal(f"by file name with {prefix} before the id", lambda name: prefix + name,
                            lambda path: remove_extension(get_name(path)))  # fmt: skip
    if not matcher.matches.counts and not matcher.matches.ambiguous_rows:
        matcher.match_equal("by file name in another folder", get_name, get_name)
        matcher.match_equal("by file name without extension, in another folder",
                            lambda path: remove_extension(get_name(path)),
                            lambda path: remove_extension(get_name(path)))  # fmt: skip
    matcher.matches.missing = matcher.list_missing()
    return matcher.matches


class Matcher:
    """Finds the videos of rows in several ways, one after the other.

    Args:
        names: Paths or names that the rows have, normalized.
        videos: Paths of the videos, normalized.
    """

    def __init__(self, names: Sequence[str], videos: Sequence[str]) -> None:
        self.names, self.videos = names, videos
        self.open_rows: Sequence[int] = range(len(names))
        self.open_videos: Sequence[int] = range(len(videos))
        self.matches = Matches([-1] * len(videos))

    def match_equal(
        self, way: str, get_name_key: Callable[[str], str], get_video_key: Callable[[str], str]
    ) -> None:
        """Match rows and videos whose keys are equal.

        Args:
            way: The way, to show to users.
            get_name_key: Returns the key of a row's name.
            get_video_key: Returns the key of a video.
        """
        if not self.open_rows or not self.open_videos:
            return
        index = make_index(self.open_videos, self.videos, get_video_key)
        candidates = (
            (row, index.get(get_name_key(self.names[row]), ())) for row in self.open_rows
        )
        self.settle(way, candidates)

    def match_endings(self, way: str, get_key: Callable[[str], str]) -> None:
        """Match rows and videos where the path of one ends with that of the other.

        Args:
            way: The way, to show to users.
            get_key: Returns the part of a path that is compared.
        """
        if not self.open_rows or not self.open_videos:
            return
        index = make_index(self.open_videos, self.videos, lambda path: get_name(get_key(path)))

        def find(row: int) -> int | tuple[int, ...]:
            key = get_key(self.names[row])
            found = index.get(get_name(key), ())
            if isinstance(found, int):
                found = (found,)
            fitting = [v for v in found if has_common_ending(key, get_key(self.videos[v]))]
            # Of several videos with which the row's path ends, the longest path is meant.
            longest = max((len(self.videos[v]) for v in fitting), default=0)
            exact = [v for v in fitting if key.endswith("/" + get_key(self.videos[v]))]
            deepest = [v for v in exact if len(self.videos[v]) == longest]
            return tuple(deepest if len(deepest) == 1 else fitting)

        self.settle(way, ((row, find(row)) for row in self.open_rows))

    def settle(self, way: str, candidates: Iterable[tuple[int, int | tuple[int, ...]]]) -> None:
        """Record what was found in one way.

        Args:
            way: The way.
            candidates: For each open row, the videos that fit.
        """
        matches, row_by_video = self.matches, self.matches.row_by_video
        open_rows: list[int] = []
        conflicts: dict[int, list[int]] = {}
        found = 0
        for row, videos in candidates:
            if not isinstance(videos, int):
                if len(videos) != 1:
                    if videos:
                        matches.ambiguous_rows[row] = videos
                    else:
                        open_rows.append(row)
                    continue
                (videos,) = videos
            if row_by_video[videos] >= 0:
                conflicts.setdefault(videos, [row_by_video[videos]]).append(row)
            else:
                row_by_video[videos] = row
                found += 1
        for video, rows in conflicts.items():
            row_by_video[video] = -1
            matches.ambiguous_videos[video] = tuple(rows)
        if found > len(conflicts):
            matches.counts[way] = found - len(conflicts)
        closed = {video for videos in matches.ambiguous_rows.values() for video in videos}
        closed |= matches.ambiguous_videos.keys()
        self.open_rows = open_rows
        self.open_videos = [
            v for v in self.open_videos if row_by_video[v] < 0 and v not in closed
        ]

    def list_missing(self) -> list[int]:
        """Return the rows that are still open, ascending."""
        return list(self.open_rows)


def make_index(
    videos: Sequence[int], paths: Sequence[str], get_key: Callable[[str], str]
) -> dict[str, int | tuple[int, ...]]:
    """Return the videos by key.

    Args:
        videos: Indices of videos.
        paths: The paths of all videos.
        get_key: Returns the key of a path.

    Returns:
        The index of a video by key; a tuple of them where several have the key.
    """
    index: dict[str, int | tuple[int, ...]] = {}
    for video in videos:
        key = get_key(paths[video])
        other = index.setdefault(key, video)
        if other != video:
            index[key] = (*((other,) if isinstance(other, int) else other), video)
    return index


def has_common_ending(a: str, b: str) -> bool:
    """Return whether one path is equal to the other, or ends with it as whole folders and name.

    Args:
        a: A path.
        b: A path.
    """
    return a == b or a.endswith("/" + b) or b.endswith("/" + a)


def normalize_paths(paths: Iterable[str]) -> list[str]:
    r"""Return paths in Unicode normalization form C, with "/" as separator, and without ``./``.

    Args:
        paths: Paths or names of files, also with ``\`` as separator.
    """
    return [normalize_path(path) for path in paths]


def normalize_path(path: str) -> str:
    """Normalize one path as `normalize_paths` does."""
    if "\\" in path:
        path = path.replace("\\", "/")
    if "./" in path or "//" in path:
        path = PREFIXES.sub("", path)
    return normalize_unicode(path)


def remove_extension(path: str) -> str:
    """Return a path without the extension of a video; other paths are returned as they are."""
    return path.rpartition(".")[0] or path if is_video(path) else path


def get_name(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]
