"""Find the video file of every annotated id, and report what is missing, extra or ambiguous."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.annotations.table import Annotation, AnnotationTable, Label, normalize_unicode
from flowkit.annotations.tree import is_video, walk_videos
from flowkit.errors import UsageError
from flowkit.path_text import path_to_text, printable_path, repair_text, text_to_path


@dataclass(frozen=True, slots=True)
class Source:
    """One video to extract."""

    id: str
    """The official id, or the path below the folder of videos."""
    path: Path
    """The video file."""
    labels: tuple[Label, ...] = ()
    """Its labels; empty if it has none."""
    subsets: tuple[str, ...] = ()
    """The subsets it belongs to, such as "train"; empty if there are none."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A video file that cannot be extracted under its id."""

    id: str
    """The id, printable."""
    path: Path
    """The file; the first one if several files have the id."""
    kind: str
    """"duplicate-id" or "bad-name"."""
    reason: str
    """One line for people: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Located:
    """The result of matching the annotations with the videos on disk."""

    sources: tuple[Source, ...]
    """The videos to extract, sorted by id."""
    missing: tuple[str, ...] = ()
    """Ids that are annotated but not on disk, in the order of the annotations."""
    unannotated: tuple[Path, ...] = ()
    """Video files on disk that no annotation names, sorted by path."""
    rejected: tuple[Rejected, ...] = ()
    """One entry for each id that several files have (it is unclear which is meant, so none is
    used), and for each name that is not UTF-8.
    """


def match_videos(
    root: Path,
    table: AnnotationTable,
    index: Mapping[str, Annotation],
    get_key: Callable[[str], str],
) -> Located:
    """Match each video below ``root`` with an annotation by a key derived from its path.

    Keys are compared in Unicode normalization form C.

    Args:
        root: The folder of videos.
        table: The annotations.
        index: Annotations by key.
        get_key: Derives the key from a path below ``root``.

    Returns:
        The videos found, and those that are missing or not annotated.

    Raises:
        UsageError: ``root`` is not a folder, or cannot be listed.
    """
    by_key = {normalize_unicode(name): annotation for name, annotation in index.items()}
    matched: list[Source] = []
    unannotated: list[Path] = []
    for path in walk_videos(root):
        annotation = by_key.get(normalize_unicode(get_key(path)))
        file = root / text_to_path(path)
        if annotation is None:
            unannotated.append(file)
            continue
        matched.append(Source(annotation.id, file, annotation.labels, annotation.subsets))
    sources, rejected = resolve_duplicates(matched)
    present = {source.id for source in matched}
    missing = (annotation.id for annotation in table.annotations)
    return Located(
        sources=sources,
        missing=tuple(id for id in missing if id not in present),
        unannotated=tuple(unannotated),
        rejected=rejected,
    )


def resolve_duplicates(
    candidates: Iterable[Source],
) -> tuple[tuple[Source, ...], tuple[Rejected, ...]]:
    """Separate the videos that can be extracted from those whose id is ambiguous or invalid.

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
    rejected: list[Rejected] = []
    for same_id in sources_by_id.values():
        first, *others = same_id.values()
        if not is_utf8(first.id):
            rejected.append(reject_name(first))
        elif others:
            rejected.append(reject_duplicate(first, others))
        else:
            sources.append(first)
    sources.sort(key=lambda source: source.id)
    return tuple(sources), tuple(rejected)


def explicit_files(paths: Iterable[Path]) -> Located:
    """Make sources of the files and folders that a user names one by one.

    The id of a file is its name with extension; that of a video in a folder is its path below that
    folder. The sources have neither labels nor subsets.

    Args:
        paths: Video files, and folders that are searched for videos.

    Returns:
        The sources, and the files that were rejected.

    Raises:
        UsageError: A path does not exist, or a folder holds no videos.
    """
    named = [Source(id, file) for path in paths for id, file in list_files(path)]
    sources, rejected = resolve_duplicates(named)
    return Located(sources=sources, rejected=rejected)


def list_files(path: Path) -> Iterable[tuple[str, Path]]:
    """List the videos that one path on the command line stands for.

    Args:
        path: A video file, or a folder that is searched for videos.

    Returns:
        Pairs of id and file.

    Raises:
        UsageError: The path does not exist, or the folder holds no videos.
    """
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises below a locked folder)
        names = walk_videos(path)
        if not names and not is_video(path.name):
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
    return [(path_to_text(path.name or path.resolve().name), path)]


def is_utf8(id: str) -> bool:
    """Return whether ``id`` can be encoded as UTF-8, as the store requires."""
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return True


def reject_name(source: Source) -> Rejected:
    """Reject a file whose name is not UTF-8."""
    printable = repair_text(source.id)
    reason = f"{printable}: its name is not UTF-8, so it cannot be an id; rename the file"
    return Rejected(printable, source.path, "bad-name", reason)


def reject_duplicate(first: Source, others: list[Source]) -> Rejected:
    """Reject all files that share an id."""
    paths = " and ".join(printable_path(source.path) for source in (first, *others))
    count = 1 + len(others)
    reason = f"{count} videos with the id {first.id!r}: {paths}; move or rename all but one"
    return Rejected(first.id, first.path, "duplicate-id", reason)
