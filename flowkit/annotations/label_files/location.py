"""Turn the rows of label files into annotations of videos in a folder, or of the ids of a store."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowkit.annotations.label_files.label_list import LabelList
from flowkit.annotations.label_files.matching import Matches, match_rows
from flowkit.annotations.label_files.report import (
    UNLISTED,
    UNLISTED_IN_STORE,
    describe_matches,
    describe_problems,
)
from flowkit.annotations.source import LocatedVideos, RejectedVideo, Source
from flowkit.annotations.table import Annotation, AnnotationTable, normalize_unicode
from flowkit.annotations.video_files import list_videos
from flowkit.errors import AnnotationError
from flowkit.garbage_collection import pause_garbage_collection
from flowkit.path_text import path_to_text, printable_path, replace_surrogates, text_to_path


@dataclass(frozen=True, kw_only=True)
class LabelledVideos:
    """The videos of a folder with the labels of a label file."""

    table: AnnotationTable
    """Annotations of the videos that were found; its classes are those of the whole file."""
    located: LocatedVideos
    """The videos that were found, and those that are missing or not in the file."""
    subsets_by_missing_id: dict[str, tuple[str, ...]]
    """The subsets of the rows without a video, by the id that the file has."""
    report: list[str]
    """Three lines that say what was understood, for users."""


@pause_garbage_collection()
def locate_labelled_videos(
    root: Path,
    listing: LabelList,
    *,
    paths: Sequence[str] | None = None,
    uses_file_ids: bool = False,
) -> LabelledVideos:
    """Match the rows of label files with the videos below a folder.

    The id of a video is its path below ``root``, as without a label file.

    Args:
        root: The folder of videos.
        listing: The rows.
        paths: The videos to match: paths below ``root``, sorted. None means those that
            `list_videos` finds.
        uses_file_ids: Whether the ids of the file are the ids of the videos instead.

    Returns:
        The annotations and the videos. Videos that are not in the file, and those for which it is
        unclear which row is meant, are not among the sources.

    Raises:
        UsageError: ``root`` is not a folder, or cannot be listed.
        AnnotationError: No row has a video, or two ids differ only by Unicode normalization.
    """
    paths = list_videos(root) if paths is None else paths
    matches = match_rows(listing.names, paths, find_folder(root, listing), listing.prefix)
    if not uses_file_ids:
        check_matches(listing, matches, paths, f"below {printable_path(root)}", UNLISTED)
    rejected = list_rejected(root, listing, matches, paths)
    unclear = {video.path for video in rejected}
    sources: list[Source] = []
    unannotated: list[Path] = []
    attributes: dict[str, Mapping[str, str]] = {}
    seen: dict[str, str] = {}
    for path, row in zip(paths, matches.row_by_video, strict=True):
        file = join_path(root, path)
        if row < 0:
            if file not in unclear:
                unannotated.append(file)
            continue
        id = listing.ids[row] if uses_file_ids else path
        printable = replace_surrogates(id) if not id.isascii() else id
        if printable != id or seen.setdefault(normalize_unicode(id), id) != id:
            rejected.append(reject_name(id, printable, file))
            continue
        sources.append(Source(id, file, listing.labels[row], listing.subsets[row]))
        attributes[id] = listing.attributes[row]
    sources.sort(key=lambda source: source.id)
    annotations = (Annotation(s.id, s.labels, s.subsets, attributes[s.id]) for s in sources)
    missing = {listing.ids[row]: listing.subsets[row] for row in matches.missing}
    located = LocatedVideos(tuple(sources), tuple(missing), tuple(unannotated), tuple(rejected))
    return LabelledVideos(
        table=AnnotationTable(listing.classes, tuple(annotations)),
        located=located,
        subsets_by_missing_id=missing,
        report=describe_matches(listing, matches, paths, UNLISTED),
    )


def join_path(root: Path, path: str) -> Path:
    """Return the file at a path below a folder.

    Args:
        root: The folder.
        path: The path, as `list_videos` returns it.

    Returns:
        ``root / text_to_path(path)``, in half the time: one Path is made instead of two.
    """
    native = path if path.isascii() else os.fspath(text_to_path(path))
    return Path(os.path.join(root, native))  # noqa: PTH118


@pause_garbage_collection()
def annotate_ids(ids: Sequence[str], listing: LabelList) -> tuple[AnnotationTable, list[str]]:
    """Match the rows of label files with the ids of a store.

    Args:
        ids: The ids, as they are in the store.
        listing: The rows.

    Returns:
        Annotations of the videos of the store that are in the file, and three lines that say what
        was understood.

    Raises:
        AnnotationError: No row has a video.
    """
    ids = list(ids)
    matches = match_rows(listing.names, ids, prefix=listing.prefix)
    check_matches(listing, matches, ids, "in the store", UNLISTED_IN_STORE)
    annotations = [
        Annotation(id, listing.labels[row], listing.subsets[row], listing.attributes[row])
        for id, row in zip(ids, matches.row_by_video, strict=True)
        if row >= 0
    ]
    annotations.sort(key=lambda annotation: annotation.id)
    lines = describe_matches(listing, matches, ids, UNLISTED_IN_STORE)
    return AnnotationTable(listing.classes, tuple(annotations)), lines


def find_folder(root: Path, listing: LabelList) -> str:
    """Return the folder of the label file below that of the videos.

    Args:
        root: The folder of videos.
        listing: The rows.

    Returns:
        The path with "/" as separator; "" if the file is elsewhere, directly in ``root``, or if
        there are several files in different folders.
    """
    folders = {file.path.resolve().parent for file in listing.files}
    folder = folders.pop() if folders else root.resolve()
    if folders or not folder.is_relative_to(root.resolve()) or folder == root.resolve():
        return ""
    return path_to_text(folder.relative_to(root.resolve()))


def check_matches(
    listing: LabelList,
    matches: Matches,
    videos: Sequence[str],
    where: str,
    unlisted: tuple[str, str],
) -> None:
    """Check that at least one row has a video.

    Args:
        listing: The rows.
        matches: The matches.
        videos: Paths or ids of the videos.
        where: Where the videos are, for the message.
        unlisted: What to say about one video without a row, and about several.

    Raises:
        AnnotationError: No row has one.
    """
    if matches.counts:
        return
    files = ", ".join(printable_path(file.path) for file in listing.files)
    if matches.ambiguous_rows or matches.ambiguous_videos:
        actual = describe_problems(listing, matches, videos, unlisted)
    elif videos:
        actual = (
            f"the file has {quote_first(listing.names)}, and the videos are {quote_first(videos)}"
        )
    else:
        actual = "there are no videos"
    raise AnnotationError(
        f"{files}: no row has a video {where}: {actual}. If the names differ, give --file-template "
        "such as '{id}_color.mp4', or another column with --columns id=COLUMN"
    )


def quote_first(texts: Sequence[str]) -> str:
    """Quote the first three texts of a list, for messages."""
    shown = ", ".join(repr(replace_surrogates(text)) for text in texts[:3])
    return shown + (", …" if len(texts) > 3 else "")


def list_rejected(
    root: Path, listing: LabelList, matches: Matches, paths: Sequence[str]
) -> list[RejectedVideo]:
    """List the videos for which it is unclear which row is meant.

    Args:
        root: The folder of videos.
        listing: The rows.
        matches: The matches.
        paths: Paths of the videos.

    Returns:
        One entry for each such video.
    """
    reasons: dict[int, str] = {}
    for row, videos in matches.ambiguous_rows.items():
        for video in videos:
            reasons[video] = (
                f"{listing.locate(row)}: {listing.names[row]!r} may be any of {len(videos)} "
                "videos; write the path of the video"
            )
    for video, rows in matches.ambiguous_videos.items():
        others = " and ".join(repr(listing.ids[row]) for row in rows[:3])
        reasons[video] = (
            f"{listing.locate(rows[1])}: {len(rows)} rows may mean this video ({others}); write "
            "the path of each video"
        )
    return [
        RejectedVideo(
            replace_surrogates(paths[video]), root / text_to_path(paths[video]), "ambiguous",
            f"{replace_surrogates(paths[video])}: {reason}",
        )
        for video, reason in sorted(reasons.items())
    ]  # fmt: skip


def reject_name(id: str, printable: str, file: Path) -> RejectedVideo:
    """Reject a video whose id is not UTF-8, or equals another one after normalization.

    Args:
        id: The id.
        printable: The id with escapes for bytes that are not UTF-8.
        file: The video.

    Returns:
        The entry for `LocatedVideos.rejected`.
    """
    if printable != id:
        reason = f"{printable}: its name is not UTF-8, so it cannot be an id; rename the file"
        return RejectedVideo(printable, file, "bad-name", reason)
    reason = f"another video has the id {id!a} in another Unicode normalization; rename one"
    return RejectedVideo(id, file, "duplicate-id", reason)
