"""Read the annotations of Kinetics-400, -600, -700 and -700-2020: one CSV file for each subset.

The columns are found by the header: ``label,youtube_id,time_start,time_end,split``; Kinetics-400
adds ``is_cc``, and test files have no ``label``. What Kinetics calls a split (train, validate or
test) is a subset here (train, val or test). The id of a clip is
``{youtube_id}_{start:06d}_{end:06d}``, the name that the official downloader gives it. Class
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
from flowkit.annotations.video_files import get_stem

SUBSETS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
"""The subset for each name of a split in file names and in the column ``split``."""
VARIANT = r"(400|600|700(?:[-_]2020)?)"
# Names such as "validate.csv", "kinetics-400_val.csv" and "k700_2020_train.csv".
ANNOTATION_FILE = re.compile(
    rf"(?:k(?:inetics)?[-_]?{VARIANT}[-_])?({'|'.join(SUBSETS)})\.csv", re.IGNORECASE
)
# Names such as "400", "k600", "kinetics700_2020" and "my-kinetics-400.annotations".
FOLDER_NAME = re.compile(
    rf"(?:.*[^a-z0-9])?(?:k|kinetics)?[-_]?{VARIANT}(?:[^a-z0-9].*)?", re.IGNORECASE
)
YOUTUBE_ID_LENGTH = 11
YOUTUBE_ID = re.compile(rf"[A-Za-z0-9_-]{{{YOUTUBE_ID_LENGTH}}}")
# Names such as "-3B32lodo2M_000059_000069" and, without leading zeros, "-3B32lodo2M_59_69".
CLIP_NAME = re.compile(r"(.+)_(\d+)_(\d+)")


def find_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Find the CSV files of one variant in ``folder`` and its subfolders.

    The name of a file such as ``kinetics-400_val.csv`` has the variant. A file such as ``val.csv``
    or ``validate.csv`` belongs to the variant in the name of the nearest folder that has one. If no
    folder has one, the file may belong to any variant, and is used only for subsets that have no
    other file.

    Args:
        folder: The folder to search.
        variant: "400", "600", "700" or "700-2020"; None means "400".

    Returns:
        At most one path for each of train, val and test, in that order.

    Raises:
        AnnotationError: Two files are of the same subset; the message names both.
    """
    wanted = (variant or "400").replace("_", "-")
    # By subset, and whether the name of the file or of a folder has the variant.
    paths: dict[tuple[str, bool], list[Path]] = defaultdict(list)
    for path in find_text_files(folder, ANNOTATION_FILE):
        match = ANNOTATION_FILE.fullmatch(path.name)
        assert match is not None
        named_variant = match[1] or find_folder_variant(path.parent)
        if named_variant is None or named_variant.replace("_", "-") == wanted:
            paths[SUBSETS[match[2].lower()], named_variant is not None].append(path)
    chosen: list[Path] = []
    for subset in ("train", "val", "test"):
        candidates = paths[subset, True] or paths[subset, False]
        if len(candidates) > 1:
            location, expected = f"{candidates[1]}:1", f"one {subset} file of kinetics-{wanted}"
            actual, advice = f"{candidates[0]} as well", "move one of them away"
            raise make_error(location, expected, actual, advice)
        chosen += candidates
    return chosen


def find_folder_variant(folder: Path) -> str | None:
    """Return the variant in the name of a folder, or of the nearest folder above that has one.

    Args:
        folder: The folder of an annotation file.

    Returns:
        The variant, such as "400" or "700_2020"; None if no folder has one in its name.
    """
    matches = map(FOLDER_NAME.fullmatch, reversed(folder.parts))
    return next((match[1] for match in matches if match), None)


def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read all annotation files of one variant, as `find_files` finds them.

    Args:
        folder: The folder to search.
        variant: "400", "600", "700" or "700-2020"; None means "400".

    Returns:
        The annotations, with the subsets train, val and test.

    Raises:
        AnnotationError: A file is malformed, or two files are of the same subset.
    """
    rows = [row for path in find_files(folder, variant) for row in read_rows(path)]
    classes = sorted({label.name for row in rows for label in row.labels})
    return build_table(classes, rows)


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows of one CSV file.

    Times may be written as floats; the id has whole seconds.

    Args:
        path: The file.

    Yields:
        One row for each clip.

    Raises:
        AnnotationError: A line has a malformed id, time or split.
    """
    file_split = re.split("[-_]", path.stem.lower())[-1]
    labels_by_class: dict[str, tuple[Label, ...]] = {"": ()}  # test files have no class names
    for location, row in read_csv(path, ["youtube_id", "time_start", "time_end"]):
        youtube_id = row["youtube_id"]
        if not YOUTUBE_ID.fullmatch(youtube_id):
            raise make_error(location, "a YouTube id of 11 characters", repr(youtube_id))
        start, end = (
            parse_seconds(row[name], name, location) for name in ("time_start", "time_end")
        )
        split = row.get("split", "").lower() or file_split
        if split not in SUBSETS:
            raise make_error(location, f"a split of {', '.join(SUBSETS)}", repr(split))
        name = row.get("label", "")
        labels = labels_by_class.setdefault(name, (Label(name),))
        yield Row(f"{youtube_id}_{start:06d}_{end:06d}", labels, SUBSETS[split], location)


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
    """Find the clips in any folder below ``root``.

    The name of a clip's file is its id, with or without the leading zeros. If only one annotated
    clip comes from a YouTube video, it may also be the YouTube id alone.

    Args:
        root: The folder of videos.
        table: The annotations.

    Returns:
        The clips found, and those that are missing or not annotated.
    """
    youtube_ids = [annotation.id[:YOUTUBE_ID_LENGTH] for annotation in table.annotations]
    clips_per_video = Counter(youtube_ids)
    annotations_by_name = table.by_id()
    for youtube_id, annotation in zip(youtube_ids, table.annotations, strict=True):
        if clips_per_video[youtube_id] == 1:
            annotations_by_name.setdefault(youtube_id, annotation)
    return match_videos(root, table, annotations_by_name, parse_clip_id)


def parse_clip_id(path: str) -> str:
    """Return the id of the clip in a file, by its name: leading zeros are restored.

    Args:
        path: Path of a video.

    Returns:
        The id, or the file name without extension if that has no start and end.
    """
    name = get_stem(path)
    match = CLIP_NAME.fullmatch(name)
    return f"{match[1]}_{int(match[2]):06d}_{int(match[3]):06d}" if match else name
