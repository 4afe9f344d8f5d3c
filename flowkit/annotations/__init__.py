"""Read every supported annotation format into one table, and match it with the files on disk.

``FORMATS`` maps the name of a format to the functions that find, read and locate its files. To add
a format, write one module in this folder and add one entry to ``FORMATS``.
"""

from types import ModuleType

from flowkit.annotations import charades, folder, hmdb51, kinetics, motion8, ucf101
from flowkit.annotations.label_files import ListSettings, make_list_format
from flowkit.annotations.source import (
    Format,
    LocatedVideos,
    RejectedVideo,
    Source,
    explicit_files,
)
from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.annotations.video_files import VIDEO_EXTENSIONS, has_videos, list_videos

__all__ = [
    "FORMATS", "LIST", "VIDEO_EXTENSIONS", "Annotation", "AnnotationTable", "Format", "Label",
    "ListSettings", "LocatedVideos", "RejectedVideo", "Source", "explicit_files", "has_videos",
    "list_videos", "make_list_format",
]  # fmt: skip


def make_format(module: ModuleType, has_files: bool = True) -> Format:
    """Make the format that a module defines by its find_files, read_table and locate_videos.

    Args:
        module: A module of this package, such as ``kinetics``.
        has_files: Whether the format has annotation files.

    Returns:
        The format, for ``FORMATS``.
    """
    return Format(module.find_files, module.read_table, module.locate_videos, has_files)


LIST = "list"
"""Name of the format of label files of any kind."""
FORMATS: dict[str, Format] = {
    "kinetics": make_format(kinetics),
    "ucf101": make_format(ucf101),
    "hmdb51": make_format(hmdb51),
    "charades": make_format(charades),
    "motion8": make_format(motion8),
    "folder": make_format(folder, has_files=False),
    LIST: make_list_format(ListSettings()),
}
