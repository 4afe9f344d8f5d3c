"""Read the annotations of Kinetics-400, -600, -700 and -700-2020: CSV files, one for each split.

The columns are found by the header: ``label,youtube_id,time_start,time_end,split``; Kinetics-400
adds ``is_cc``, and test files have no ``label``. The id of a clip is
``{youtube_id}_{start:06d}_{end:06d}``, the name that the dataset's own downloader gives it. Class
ids follow the alphabetical order of the labels.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flowkit.annotations.source import LocatedVideos, match_videos
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table, make_error
from flowkit.annotations.text import find_text_files, read_csv
from flowkit.annotations.tree import get_stem

SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
RELEASE = r"(400|600|700(?:[-_]2020)?)"
VARIANT = rf"k(?:inetics)?[-_]?{RELEASE}"
ANNOTATION_FILE = re.compile(rf"(?:{VARIANT}[-_])?({'|'.join(SPLITS)})\.csv", re.IGNORECASE)
FOLDER = re.compile(
    rf"(?:.*[^a-z0-9])?(?:k|kinetics)?[-_]?{RELEASE}(?:[^a-z0-9].*)?", re.IGNORECASE
)
YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
CLIP = re.compile(r"(.+)_(\d+)_(\d+)")


def find_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Find the CSV files of one variant at or below ``folder``.

    Files such as ``kinetics-400_val.csv`` name their variant. For ``val.csv`` or ``validate.csv``
    the nearest folder that names a variant decides; if none does, the file is taken for any
    variant.

    Args:
        folder: Where to look.
        variant: "400", "600", "700" or "700-2020"; None means "400".

    Returns:
        At most one path for each of train, val and test, in that order.

    Raises:
        AnnotationError: Two files claim the same split; the message names both.
    """
    wanted = (variant or "400").replace("_", "-")
    paths: dict[tuple[str, bool], list[Path]] = defaultdict(list)
    for path in find_text_files(folder, ANNOTATION_FILE):
        match = ANNOTATION_FILE.fullmatch(path.name)
        assert match is not None
        named_variant = match[1] or find_folder_variant(path.parent)
        if named_variant is None or named_variant.replace("_", "-") == wanted:
            paths[SPLITS[match[2].lower()], named_variant is not None].append(path)
    chosen: list[Path] = []
    for split in ("train", "val", "test"):
        candidates = paths[split, True] or paths[split, False]
        if len(candidates) > 1:
            location, expected = f"{candidates[1]}:1", f"one {split} file of kinetics-{wanted}"
            advice = "move one of them away"
            raise make_error(location, expected, f"{candidates[0]} as well", advice)
        chosen += candidates
    return chosen


def find_folder_variant(folder: Path) -> str | None:
    """Return the variant in the name of the nearest folder that names one.

    Args:
        folder: The folder of an annotation file.

    Returns:
        The variant, such as "400" or "700_2020"; None if no folder names one.
    """
    matches = map(FOLDER.fullmatch, reversed(folder.parts))
    return next((match[1] for match in matches if match), None)


def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read every split of a variant that is found at or below ``folder``.

    Args:
        folder: Where to look.
        variant: "400", "600", "700" or "700-2020"; None means "400".

    Returns:
        The annotations, with the subsets train, val and test.

    Raises:
        AnnotationError: A file is malformed, or two files claim one split.
    """
    rows = [row for path in find_files(folder, variant) for row in read_split(path)]
    classes = sorted({label.name for row in rows for label in row.labels})
    return build_table(classes, rows)


def read_split(path: Path) -> Iterator[Row]:
    """Read the rows of one CSV file.

    Times may be written as floats; the id holds whole seconds.

    Args:
        path: The file.

    Yields:
        One row for each clip.

    Raises:
        AnnotationError: A line has a malformed id, time or split.
    """
    file_split = re.split("[-_]", path.stem.lower())[-1]
    labels_by_class: dict[str, tuple[Label, ...]] = {"": ()}
    for location, row in read_csv(path, ["youtube_id", "time_start", "time_end"]):
        youtube_id = row["youtube_id"]
        if not YOUTUBE_ID.fullmatch(youtube_id):
            raise make_error(location, "a YouTube id of 11 characters", repr(youtube_id))
        start, end = (
            parse_seconds(row[name], name, location) for name in ("time_start", "time_end")
        )
        split = row.get("split", "").lower() or file_split
        if split not in SPLITS:
            raise make_error(location, f"a split of {', '.join(SPLITS)}", repr(split))
        name = row.get("label", "")
        labels = labels_by_class.setdefault(name, (Label(name),))
        yield Row(f"{youtube_id}_{start:06d}_{end:06d}", labels, SPLITS[split], location)


def parse_seconds(text: str, name: str, location: str) -> int:
    """Parse a time that is written as an integer or a float.

    Args:
        text: The time in seconds, from 0 to below 1e6.
        name: Name of the column, for the error message.
        location: ``file:line``, for the error message.

    Returns:
        The whole seconds.

    Raises:
        AnnotationError: The text is not such a number.
    """
    with suppress(ValueError):
        if 0 <= float(text) < 1e6:
            return int(float(text))
    raise make_error(location, f"{name} in seconds", repr(text))


def locate_videos(root: Path, table: AnnotationTable) -> LocatedVideos:
    """Find the clips below ``root``, whatever their folder.

    A clip's file is named by its id, with or without the leading zeros, or by its YouTube id alone
    if only one annotated clip comes from that video.

    Args:
        root: The folder of videos.
        table: The annotations.

    Returns:
        The clips found, and those that are missing or not annotated.
    """
    clips_per_video = Counter(annotation.id[:11] for annotation in table.annotations)
    index = table.by_id()
    for annotation in table.annotations:
        if clips_per_video[annotation.id[:11]] == 1:
            index.setdefault(annotation.id[:11], annotation)
    return match_videos(root, table, index, parse_clip_id)


def parse_clip_id(path: str) -> str:
    """Return the clip id that a file name stands for, with leading zeros restored.

    Args:
        path: Path of a video.

    Returns:
        The id, or the file name without extension if it does not look like a clip's.
    """
    name = get_stem(path)
    match = CLIP.fullmatch(name)
    return f"{match[1]}_{int(match[2]):06d}_{int(match[3]):06d}" if match else name
