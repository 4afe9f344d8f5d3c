"""Sources: the video files that a dataset's ids stand for."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.annotations.table import Annotation, AnnotationTable, Label, normalize
from flowkit.annotations.tree import is_video, walk_videos
from flowkit.errors import UsageError
from flowkit.path_text import path_to_text, printable_path, repair_text, text_to_path


@dataclass(frozen=True, slots=True)
class Source:
    """One video to extract: its id, its file, and what the annotations say of it."""

    id: str
    path: Path
    labels: tuple[Label, ...] = ()
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that cannot be a source: ``kind`` is ``duplicate-id`` or ``bad-name``."""

    id: str
    path: Path
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Located:
    """What is on disk, against what is annotated.

    ``sources``, sorted by id; ``missing``, the ids that are annotated and absent on disk,
    sorted; ``unannotated``, the video files that no annotation speaks of, sorted; ``rejected``,
    one for each id that several files claim (nobody can say which is meant, so none is taken),
    and for each name that is not UTF-8.
    """

    sources: tuple[Source, ...]
    missing: tuple[str, ...] = ()
    unannotated: tuple[Path, ...] = ()
    rejected: tuple[Rejected, ...] = ()


def match(
    root: Path,
    table: AnnotationTable,
    index: Mapping[str, Annotation],
    key: Callable[[str], str],
) -> Located:
    """Give each video below ``root`` the annotation whose ``index`` entry is its ``key``.

    ``key`` turns a path below ``root`` into a key; keys are compared in Unicode form C.
    """
    by_key = {normalize(name): annotation for name, annotation in index.items()}
    found: list[Source] = []
    unannotated: list[Path] = []
    for path in walk_videos(root):
        annotation = by_key.get(normalize(key(path)))
        file = root / text_to_path(path)
        if annotation is None:
            unannotated.append(file)
            continue
        found.append(Source(annotation.id, file, annotation.labels, annotation.subsets))
    sources, rejected = settle(found)
    present = {source.id for source in found}
    missing = (annotation.id for annotation in table.annotations)
    return Located(
        sources=sources,
        missing=tuple(id for id in missing if id not in present),
        unannotated=tuple(unannotated),
        rejected=rejected,
    )


def settle(found: Iterable[Source]) -> tuple[tuple[Source, ...], tuple[Rejected, ...]]:
    """The sources, sorted by id, and what is rejected of ``found``.

    Ids that differ only by Unicode normalization count as one.
    """
    claims: dict[str, dict[Path, Source]] = {}
    for source in found:
        claims.setdefault(normalize(source.id), {}).setdefault(source.path, source)
    sources: list[Source] = []
    rejected: list[Rejected] = []
    for claim in claims.values():
        first, *others = claim.values()
        if not is_utf8(first.id):
            rejected.append(reject_name(first))
        elif others:
            rejected.append(reject_duplicate(first, others))
        else:
            sources.append(first)
    sources.sort(key=lambda source: source.id)
    return tuple(sources), tuple(rejected)


def explicit_files(paths: Iterable[Path]) -> Located:
    """The sources that a person names one by one: files, and folders of videos.

    A file's id is its name with extension; a video's in a folder is its path below that
    folder. They have neither labels nor subsets. Raises UsageError for a path that does not
    exist, and a folder without videos.
    """
    found = [Source(id, file) for path in paths for id, file in expand(path)]
    sources, rejected = settle(found)
    return Located(sources=sources, rejected=rejected)


def expand(path: Path) -> Iterable[tuple[str, Path]]:
    """The (id, file) pairs that one named path stands for."""
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises below a locked folder)
        below = walk_videos(path)
        if not below and not is_video(path.name):
            raise UsageError(f"no videos below {path}; name a folder with videos, or the files")
        if below:
            return [(name, path / text_to_path(name)) for name in below]
    else:
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"no such file: {path}; check the path") from None
        except OSError:  # the worker will say why this one cannot be read
            pass
    return [(path_to_text(path.name or path.resolve().name), path)]


def is_utf8(id: str) -> bool:
    """Whether the store, which is UTF-8 throughout, can hold ``id``."""
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return True


def reject_name(source: Source) -> Rejected:
    printable = repair_text(source.id)
    reason = f"{printable}: its name is not UTF-8, so it cannot be an id; rename the file"
    return Rejected(printable, source.path, "bad-name", reason)


def reject_duplicate(first: Source, others: list[Source]) -> Rejected:
    paths = " and ".join(printable_path(source.path) for source in (first, *others))
    count = 1 + len(others)
    reason = f"{count} videos with the id {first.id!r}: {paths}; move or rename all but one"
    return Rejected(first.id, first.path, "duplicate-id", reason)
