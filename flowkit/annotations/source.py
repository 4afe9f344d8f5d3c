"""Find the video file of every annotated id, and report videos that are missing or ambiguous."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.annotations.table import Annotation, AnnotationTable, Label, normalize_unicode
from flowkit.annotations.video_files import get_stem, is_frame_folder, is_video, list_videos
from flowkit.errors import UsageError
from flowkit.path_text import path_to_text, printable_path, replace_surrogates, text_to_path


@dataclass(frozen=True, slots=True)
class Source:
    """One video to extract."""

    id: str
    """The official id, or the path relative to the folder of videos."""
    path: Path
    """The video file or frame folder."""
    labels: tuple[Label, ...] = ()
    """Its labels; empty if it has none."""
    subsets: tuple[str, ...] = ()
    """The subsets it belongs to, such as "train"; empty if there are none."""


@dataclass(frozen=True, slots=True)
class RejectedVideo:
    """A video file that cannot be extracted under its id."""

    id: str
    """The id, printable."""
    path: Path
    """The file; the first one if several files have the id."""
    kind: str
    """"duplicate-id", "bad-name" or "ambiguous"."""
    reason: str
    """One line for the user: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class LocatedVideos:
    """The result of matching the annotations with the videos on disk."""

    sources: tuple[Source, ...]
    """The videos to extract, sorted by id."""
    missing: tuple[str, ...] = ()
    """Ids that are annotated but not on disk, in the order of the annotations."""
    unannotated: tuple[Path, ...] = ()
    """Video files on disk that have no annotation, sorted by path."""
    rejected: tuple[RejectedVideo, ...] = ()
    """One entry for each id that several files have (none of them is used, because it is unclear
    which is meant), for each name that is not UTF-8, and for each video of which it is unclear
    which row of a label file is meant.
    """


@dataclass(frozen=True, slots=True)
class Format:
    """The functions that handle one annotation format."""

    find_files: Callable[[Path, str | None], list[Path]]
    """(folder, variant) → the annotation files in the folder and its subfolders; an empty list if
    there are none.
    """
    read_table: Callable[[Path, str | None], AnnotationTable]
    """(folder, variant) → the annotations. Raises AnnotationError for a malformed line."""
    locate_videos: Callable[[Path, AnnotationTable], LocatedVideos]
    """(folder of videos, table) → the annotated videos that are on disk, and those that are
    missing.
    """
    has_files: bool = True
    """Whether the format has annotation files; False if labels come from the names of folders."""


def match_videos(
    root: Path,
    table: AnnotationTable,
    annotations_by_key: Mapping[str, Annotation],
    get_key: Callable[[str], str],
) -> LocatedVideos:
    """Match each video below ``root`` with an annotation by a key derived from its path.

    Keys are compared in Unicode normalization form C.

    Args:
        root: The folder of videos.
        table: The annotations.
        annotations_by_key: Annotations by key.
        get_key: Derives the key from a path below ``root``.

    Returns:
        The videos found, and those that are missing or not annotated.

    Raises:
        UsageError: ``root`` is not a folder, or cannot be listed.
    """
    by_normal_key = {
        normalize_unicode(key): annotation for key, annotation in annotations_by_key.items()
    }
    matched: list[Source] = []
    unannotated: list[Path] = []
    for path in list_videos(root):
        annotation = by_normal_key.get(normalize_unicode(get_key(path)))
        file = root / text_to_path(path)
        if annotation is None:
            unannotated.append(file)
        else:
            matched.append(Source(annotation.id, file, annotation.labels, annotation.subsets))
    sources, rejected = resolve_duplicates(matched)
    present = {source.id for source in matched}
    missing = tuple(id for id in table.by_id() if id not in present)
    return LocatedVideos(sources, missing, tuple(unannotated), rejected)


def locate_by_stem(root: Path, table: AnnotationTable) -> LocatedVideos:
    """Match the videos in any folder below ``root`` by their file name without extension.

    Args:
        root: The folder of videos.
        table: The annotations, whose ids are names without extension.

    Returns:
        The videos found, and those that are missing or not annotated.
    """
    return match_videos(root, table, table.by_id(), get_stem)


def resolve_duplicates(
    candidates: Iterable[Source],
) -> tuple[tuple[Source, ...], tuple[RejectedVideo, ...]]:
    """Separate videos that can be extracted from those whose id is ambiguous or invalid.

    Ids that differ only by Unicode normalization count as one.

    Args:
        candidates: All videos found.

    Returns:
        The usable sources, sorted by id, and the rejected files.
    """
    sources_by_id: dict[str, dict[Path, Source]] = {}
    for source in candidates:
        sources_by_id.setdefault(normalize_unicode(source.id), {}).setdefault(source.path, source)
    sources: list[Source] = []
    rejected: list[RejectedVideo] = []
    for same_id in sources_by_id.values():
        first = next(iter(same_id.values()))
        printable_id = replace_surrogates(first.id)
        if printable_id != first.id:
            reason = (
                f"{printable_id}: its name is not UTF-8, so it cannot be an id; rename the file"
            )
            rejected.append(RejectedVideo(printable_id, first.path, "bad-name", reason))
        elif len(same_id) > 1:
            paths = " and ".join(map(printable_path, same_id))
            reason = f"{len(same_id)} videos with the id {first.id!r}: {paths}"
            reason += "; move or rename all but one"
            rejected.append(RejectedVideo(first.id, first.path, "duplicate-id", reason))
        else:
            sources.append(first)
    sources.sort(key=lambda source: source.id)
    return tuple(sources), tuple(rejected)


def explicit_files(paths: Iterable[Path]) -> LocatedVideos:
    """Make sources from video files and folders that the user lists.

    The id of a file or a frame folder is its name, with extension; that of a video in another
    folder is its path below that folder. The sources have neither labels nor subsets.

    Args:
        paths: Video files, frame folders, and folders that are searched for videos.

    Returns:
        The sources, and the files that were rejected.

    Raises:
        UsageError: A path does not exist, or a folder holds no videos.
    """
    sources, rejected = resolve_duplicates(
        Source(id, file) for path in paths for id, file in list_files(path)
    )
    return LocatedVideos(sources, rejected=rejected)


def list_files(path: Path) -> Iterable[tuple[str, Path]]:
    """List the videos at one path on the command line.

    Args:
        path: A video file, a frame folder, or a folder that is searched for videos.

    Returns:
        Pairs of id and path.

    Raises:
        UsageError: The path does not exist, or the folder holds no videos.
    """
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises below a folder without permission)
        names = list_videos(path)
        # A folder named like a video is taken as one, and extraction records why it cannot be read.
        if not names and not is_video(path.name) and not is_frame_folder(path):
            raise UsageError(f"no videos below {path}; name a folder with videos, or the files")
        if names:
            return [(name, path / text_to_path(name)) for name in names]
    else:
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"no such file: {path}; check the path") from None
        except OSError:  # extraction will record why this one cannot be read
            pass
    name = path.name if path.name not in ("", "..") else path.resolve().name
    return [(path_to_text(name), path)]
