"""Sources: the video files that a dataset's ids stand for."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.annotations.table import Annotation, AnnotationTable, Label, normalize
from flowkit.annotations.tree import is_video, walk_videos
from flowkit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Source:
    """One video to extract: its id, its file, and what the annotations say of it."""

    id: str
    path: Path
    labels: tuple[Label, ...] = ()
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Located:
    """What is on disk, against what is annotated.

    ``sources``, sorted by id; ``missing``, the ids that are annotated and absent on disk,
    sorted; ``unannotated``, the video files that no annotation speaks of, sorted.
    """

    sources: tuple[Source, ...]
    missing: tuple[str, ...] = ()
    unannotated: tuple[Path, ...] = ()


def match(
    root: Path,
    table: AnnotationTable,
    index: Mapping[str, Annotation],
    key: Callable[[str], str],
) -> Located:
    """Give each video below ``root`` the annotation whose ``index`` entry is its ``key``.

    ``key`` turns a path below ``root`` into a key; keys are compared in Unicode form C.
    Two files for one annotation are a UsageError that names both.
    """
    by_key = {normalize(name): annotation for name, annotation in index.items()}
    found: dict[str, tuple[str, Annotation]] = {}
    unannotated: list[Path] = []
    for path in walk_videos(root):
        annotation = by_key.get(normalize(key(path)))
        if annotation is None:
            unannotated.append(root / path)
            continue
        first, _ = found.setdefault(annotation.id, (path, annotation))
        if first != path:
            raise duplicate(annotation.id, root / first, root / path)
    return Located(
        sources=tuple(
            Source(id, root / found[id][0], found[id][1].labels, found[id][1].subsets)
            for id in sorted(found)
        ),
        missing=tuple(
            annotation.id for annotation in table.annotations if annotation.id not in found
        ),
        unannotated=tuple(unannotated),
    )


def explicit_files(paths: Iterable[Path]) -> Located:
    """The sources that a person names one by one: files, and folders of videos.

    A file's id is its name with extension; a video's in a folder is its path below that
    folder. They have neither labels nor subsets. Raises UsageError for a path that does not
    exist, a folder without videos, and two files with one id.
    """
    sources: dict[str, Source] = {}
    for path in paths:
        for id, file in expand(path):
            source = Source(checked_id(id, file), file)
            first = sources.setdefault(normalize(id), source)
            if first.path != file:
                raise duplicate(id, first.path, file)
    return Located(sources=tuple(sorted(sources.values(), key=lambda source: source.id)))


def expand(path: Path) -> Iterable[tuple[str, Path]]:
    """The (id, file) pairs that one named path stands for."""
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises below a locked folder)
        below = walk_videos(path)
        if not below and not is_video(path.name):
            raise UsageError(f"no videos below {path}; name a folder with videos, or the files")
        if below:
            return [(name, path / name) for name in below]
    else:
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"no such file: {path}; check the path") from None
        except OSError:  # the worker will say why this one cannot be read
            pass
    return [(path.name or path.resolve().name, path)]


def checked_id(id: str, path: Path) -> str:
    """``id``, or UsageError if the file's name is not UTF-8 and so cannot be stored."""
    try:
        id.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"the name of {str(path)!a} is not UTF-8, so it cannot be an id; rename the file"
        ) from None
    return id


def duplicate(id: str, first: Path, second: Path) -> UsageError:
    """The error for two sources with one id."""
    return UsageError(
        f"two videos with the id {id!r}: {first} and {second}; move or rename one of them"
    )
