"""Annotations: every official format, read into one table, and matched with files on disk.

``FORMATS`` maps a format's name to its reader and locator; adding a format is one file here
and one entry there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from flowkit.annotations import charades, folder, hmdb51, kinetics, motion8, ucf101
from flowkit.annotations.source import Located, Rejected, Source, explicit_files
from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.annotations.tree import VIDEO_EXTENSIONS, holds_videos, walk_videos

__all__ = [
    "FORMATS",
    "VIDEO_EXTENSIONS",
    "Annotation",
    "AnnotationTable",
    "Format",
    "Label",
    "Located",
    "Rejected",
    "Source",
    "explicit_files",
    "holds_videos",
    "walk_videos",
]


@dataclass(frozen=True, slots=True)
class Format:
    """One annotation format.

    find: (folder, variant) → the annotation files below the folder, [] where there are none.
    read: (folder, variant) → AnnotationTable; AnnotationError for a malformed line.
    locate: (folder of videos, table) → Located; UsageError for two files with one id.
    has_files: False where the folders of videos are themselves the annotation.
    """

    find: Callable[[Path, str | None], list[Path]]
    read: Callable[[Path, str | None], AnnotationTable]
    locate: Callable[[Path, AnnotationTable], Located]
    has_files: bool = True


def of_module(module: ModuleType, has_files: bool = True) -> Format:
    """The format that a module here defines by its functions find, read and locate."""
    return Format(module.find, module.read, module.locate, has_files)


FORMATS: dict[str, Format] = {
    "kinetics": of_module(kinetics),
    "ucf101": of_module(ucf101),
    "hmdb51": of_module(hmdb51),
    "charades": of_module(charades),
    "motion8": of_module(motion8),
    "folder": of_module(folder, has_files=False),
}
