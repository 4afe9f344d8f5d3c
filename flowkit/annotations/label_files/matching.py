"""Find the video of each row of a label file, by path, file name or stem.

The ways are tried in this order; a video that was found is not considered again:

    path beside     the row has the path of the video below the folder of the label file
    path            the row has the path of the video below the folder
    path, no ext.   the same without the extension, or with the extension of another video format
    name            the row's path ends with that of the video, or the video's with that of the row:
                    ``a.mp4`` for x/a.mp4, ``/data/clips/x/a.mp4`` for x/a.mp4
    stem            the same without extension
    prefix          only if the format of the label file has a prefix: the file name without
                    extension is the prefix and the row
    name elsewhere  only if no row was found so far: the file name alone, in any folder, then
                    without extension

If several videos fit by name or stem, the one that shares the longest ending with the row is meant.
A row that several videos fit equally well is ambiguous, and so is a video that several rows fit: it
is unclear which is meant, so neither is used.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flowkit.annotations.table import normalize_unicode
from flowkit.annotations.video_files import VIDEO_EXTENSIONS

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
    matcher = Matcher(list(map(normalize_path, names)), list(map(normalize_path, videos)))
    if folder:
        folder = normalize_path(folder)
        matcher.match_equal("by path beside the label file", lambda name: f"{folder}/{name}", str)
    matcher.match_equal("by path", str, str)
    matcher.match_equal("by path without extension", remove_extension, remove_extension)
    matcher.match_endings("by file name", lambda path: path)
    matcher.match_endings("by file name without extension", remove_extension)
    if prefix:
        way = f"by file name with {prefix} before the id"
        matcher.match_equal(way, lambda name: prefix + name, get_name_without_extension)
    if not matcher.matches.counts and not matcher.matches.ambiguous_rows:
        matcher.match_equal("by file name in another folder", get_name, get_name)
        way = "by file name without extension, in another folder"
        matcher.match_equal(way, get_name_without_extension, get_name_without_extension)
    matcher.matches.missing = list(matcher.open_rows)
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
        keys = [get_video_key(self.videos[video]) for video in self.open_videos]
        index = make_index(self.open_videos, keys)
        row_keys = [get_name_key(self.names[row]) for row in self.open_rows]
        if not index.keys().isdisjoint(row_keys):
            self.settle(way, (index.get(key, ()) for key in row_keys))

    def match_endings(self, way: str, get_key: Callable[[str], str]) -> None:
        """Match rows and videos where the path of one ends with that of the other.

        Args:
            way: The way, to show to users.
            get_key: Returns the part of a path that is compared.
        """
        if not self.open_rows or not self.open_videos:
            return
        keys = [get_key(self.videos[video]) for video in self.open_videos]
        index = make_index(self.open_videos, [key.rpartition("/")[2] for key in keys])
        row_keys = [get_key(self.names[row]) for row in self.open_rows]
        row_names = [key.rpartition("/")[2] for key in row_keys]
        if index.keys().isdisjoint(row_names):
            return
        key_by_video = dict(zip(self.open_videos, keys, strict=True))

        def find(key: str, name: str) -> int | tuple[int, ...]:
            found = index.get(name, ())
            if isinstance(found, int):
                return found if has_common_ending(key, key_by_video[found]) else ()
            return choose_longest(key, found, key_by_video) if found else ()

        self.settle(way, map(find, row_keys, row_names))

    def settle(self, way: str, candidates: Iterable[int | tuple[int, ...]]) -> None:
        """Record what was found in one way.

        Rows that only one video fits come first. For the others, a video that has a row by then is
        no longer considered, which may leave one, and so on.

        Args:
            way: The way.
            candidates: For each open row, the videos that fit.
        """
        row_by_video, unclear_videos = self.matches.row_by_video, self.matches.ambiguous_videos
        open_rows, several = self.assign(way, zip(self.open_rows, candidates, strict=True))
        count = -1
        while len(several) != count:
            count = len(several)
            remaining = [
                (row, tuple(v for v in videos if row_by_video[v] < 0 and v not in unclear_videos))
                for row, videos in several
            ]
            more_rows, several = self.assign(way, remaining)
            open_rows += more_rows
        self.matches.ambiguous_rows.update(several)
        closed = {video for _, videos in several for video in videos} | unclear_videos.keys()
        self.open_rows = sorted(open_rows)
        self.open_videos = [v for v in self.open_videos if row_by_video[v] < 0 and v not in closed]

    def assign(
        self, way: str, candidates: Iterable[tuple[int, int | tuple[int, ...]]]
    ) -> tuple[list[int], list[tuple[int, tuple[int, ...]]]]:
        """Assign the rows that only one video fits.

        Args:
            way: The way, for the counts.
            candidates: Rows with the videos that fit.

        Returns:
            The rows that no video fits, and those that several fit, with these.
        """
        row_by_video = self.matches.row_by_video
        open_rows: list[int] = []
        several: list[tuple[int, tuple[int, ...]]] = []
        conflicts: dict[int, list[int]] = {}
        found = 0
        for row, videos in candidates:
            if not isinstance(videos, int):
                if len(videos) > 1:
                    several.append((row, videos))
                    continue
                if not videos:
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
            self.matches.ambiguous_videos[video] = tuple(rows)
        if found > len(conflicts):
            counts = self.matches.counts
            counts[way] = counts.get(way, 0) + found - len(conflicts)
        return open_rows, several


def choose_longest(
    key: str, videos: tuple[int, ...], key_by_video: Mapping[int, str]
) -> tuple[int, ...]:
    """Choose the videos that fit a row, of several with the same file name.

    Args:
        key: The path that the row has.
        videos: The videos.
        key_by_video: The paths of the videos.

    Returns:
        The videos that share the longest ending with the row's path.
    """
    # Where one path ends with the other, the shorter one is the ending that they share.
    lengths = {
        v: min(len(key), len(key_by_video[v]))
        for v in videos
        if has_common_ending(key, key_by_video[v])
    }
    longest = max(lengths.values(), default=0)
    return tuple(v for v, length in lengths.items() if length == longest)


def make_index(videos: Sequence[int], keys: Sequence[str]) -> dict[str, int | tuple[int, ...]]:
    """Return the videos by key.

    Args:
        videos: Indices of videos.
        keys: The key of each of them.

    Returns:
        The index of a video by key; a tuple of them where several have the key.
    """
    index: dict[str, int | tuple[int, ...]] = dict(zip(keys, videos, strict=True))
    if len(index) == len(videos):
        return index
    index.clear()
    for video, key in zip(videos, keys, strict=True):
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


def normalize_path(path: str) -> str:
    r"""Return a path in Unicode normalization form C, with "/" as separator, and without ``./``.

    Args:
        path: Path or name of a file, also with ``\`` as separator.
    """
    if "\\" in path:
        path = path.replace("\\", "/")
    if "./" in path or "//" in path:
        path = PREFIXES.sub("", path)
    return normalize_unicode(path)


def remove_extension(path: str) -> str:
    """Return a path without the extension of a video; other paths are returned as they are."""
    stem, _, extension = path.rpartition(".")
    return stem if stem and f".{extension.lower()}" in VIDEO_EXTENSIONS else path


def get_name(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def get_name_without_extension(path: str) -> str:
    """Return the last part of a path without the extension of a video."""
    return remove_extension(get_name(path))
