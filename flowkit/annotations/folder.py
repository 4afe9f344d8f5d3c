"""Derive labels from the folders that videos are in, ``DIR/<class>/….mp4``: no annotation files.

The id of a video is its path below ``DIR``, with extension; a folder of frames is a video too. Its
label is the first folder of that path. If all of the first folders have names of subsets (train,
val, …), they are the subsets, and the classes are one level deeper. A video directly in ``DIR`` has
no label. Class ids follow the alphabetical order.
"""

from collections.abc import Sequence
from pathlib import Path

from flowkit.annotations.source import LocatedVideos, Source, resolve_duplicates
from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.annotations.video_files import list_videos
from flowkit.path_text import text_to_path

SUBSETS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def scan_folder(
    root: Path, paths: Sequence[str] | None = None
) -> tuple[AnnotationTable, LocatedVideos]:
    """Build the table and locate the videos by searching the folder once.

    Args:
        root: The folder of videos.
        paths: Paths of the videos below ``root``, sorted; None for those that `list_videos` finds.

    Returns:
        The annotations, and the located videos.

    Raises:
        UsageError: ``root`` is not a folder, or cannot be listed.
    """
    candidates = []
    paths = list_videos(root) if paths is None else paths
    folders = [path.split("/")[:-1] for path in paths]
    first_folders = {parts[0].lower() for parts in folders if parts}
    has_subsets = bool(first_folders) and first_folders <= SUBSETS.keys()
    for path, parts in zip(paths, folders, strict=True):
        subsets = (SUBSETS[parts[0].lower()],) if has_subsets and parts else ()
        class_folders = parts[1:] if has_subsets else parts
        labels = (Label(class_folders[0]),) if class_folders else ()
        candidates.append(Source(path, root / text_to_path(path), labels, subsets))
    sources, rejected = resolve_duplicates(candidates)
    classes = sorted({label.name for source in sources for label in source.labels})
    annotations = (Annotation(source.id, source.labels, source.subsets) for source in sources)
    table = AnnotationTable(tuple(classes), tuple(annotations))
    return table, LocatedVideos(sources=sources, rejected=rejected)


def find_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Return an empty list: the folders themselves are the annotation.

    Args:
        folder: Ignored.
        variant: Ignored.

    Returns:
        An empty list.
    """
    return []


def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Return the annotations that `scan_folder` derives from the folders.

    Args:
        folder: The folder of videos.
        variant: Ignored.

    Returns:
        The annotations.
    """
    return scan_folder(folder)[0]


def locate_videos(root: Path, table: AnnotationTable) -> LocatedVideos:
    """Return the videos that `scan_folder` finds.

    Args:
        root: The folder of videos.
        table: The annotations of the same folder; not needed here.

    Returns:
        The located videos.
    """
    return scan_folder(root)[1]
