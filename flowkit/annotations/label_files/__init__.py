"""Read label files of any common kind, and match their rows with videos.

    file ─ formats ─ rows (rows.py) ─ columns (columns.py) ─ label list (listing.py)
                                                                 │
                     folder of videos, or ids of a store ─ matching ─ annotations and sources

formats.py recognizes the format of a file: CSV, JSON, JSON lines, Parquet or plain lines.
columns.py recognizes what each column means. listing.py merges the rows of one video. matching.py
finds the video of each row, and location.py turns the result into annotations. report.py describes
what was understood, in three lines.
"""

from flowkit.annotations.label_files.catalog_format import ListSettings, make_list_format
from flowkit.annotations.label_files.label_list import LabelList
from flowkit.annotations.label_files.listing import read_label_files
from flowkit.annotations.label_files.location import (
    LabelledVideos,
    annotate_ids,
    locate_labelled_videos,
)
from flowkit.annotations.label_files.options import LabelOptions, parse_columns

__all__ = [
    "LabelList", "LabelOptions", "LabelledVideos", "ListSettings", "annotate_ids",
    "locate_labelled_videos", "make_list_format", "parse_columns", "read_label_files",
]  # fmt: skip
