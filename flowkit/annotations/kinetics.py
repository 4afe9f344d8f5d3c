"""Kinetics-400, -600, -700 and -700-2020: header-driven CSV files, one per split.

A row has ``label,youtube_id,time_start,time_end,split``; Kinetics-400 adds ``is_cc``, and test
files have no ``label``. The id of a clip is ``{youtube_id}_{start:06d}_{end:06d}``, the name that
the dataset's own downloader gives it. Class ids are the alphabetical order of the labels.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from flowkit.annotations.source import Located, match
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table
from flowkit.annotations.text import find_texts, read_csv
from flowkit.annotations.tree import stem
from flowkit.errors import AnnotationError

SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
RELEASE = r"(400|600|700(?:[-_]2020)?)"
VARIANT = rf"k(?:inetics)?[-_]?{RELEASE}"
FILE = re.compile(rf"(?:{VARIANT}[-_])?({'|'.join(SPLITS)})\.csv", re.IGNORECASE)
FOLDER = re.compile(
    rf"(?:.*[^a-z0-9])?(?:k|kinetics)?[-_]?{RELEASE}(?:[^a-z0-9].*)?", re.IGNORECASE
)
YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
CLIP = re.compile(r"(.+)_(\d+)_(\d+)")


def find(folder: Path, variant: str | None = None) -> list[Path]:
    """The CSV files of ``variant`` ("400" unless given) at or below ``folder``.

    ``kinetics-400_val.csv`` and the like say their variant; for ``val.csv`` or ``validate.csv``
    the nearest folder that names one does, and where none does, they are taken. Two files
    for one split are an AnnotationError that names both.
    """
    wanted = (variant or "400").replace("_", "-")
    chosen: dict[str, tuple[bool, Path]] = {}
    for path in find_texts(folder, FILE):
        parts = FILE.fullmatch(path.name)
        assert parts is not None
        said = parts[1] or folder_variant(path.parent)
        if said is not None and said.replace("_", "-") != wanted:
            continue
        split = SPLITS[parts[2].lower()]
        certain, first = chosen.get(split, (False, path))
        if first != path and certain == (said is not None):
            raise AnnotationError(
                f"{path}:1: expected one {split} file of kinetics-{wanted}, got {first} as well; "
                "move one of them away"
            )
        if said is not None or not certain:
            chosen[split] = (said is not None, path)
    return [chosen[split][1] for split in ("train", "val", "test") if split in chosen]


def folder_variant(folder: Path) -> str | None:
    """The variant that the nearest folder with one in its name says."""
    for name in reversed(folder.parts):
        parts = FOLDER.fullmatch(name)
        if parts:
            return parts[1]
    return None


def read(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read every split of ``variant`` found below ``folder``; subsets train, val, test."""
    rows = [row for path in find(folder, variant) for row in read_split(path)]
    classes = sorted({label.name for row in rows for label in row.labels})
    return build_table(classes, rows)


def read_split(path: Path) -> Iterator[Row]:
    """The rows of one CSV file. Times may be written as floats; the id holds whole seconds."""
    parts = FILE.fullmatch(path.name)
    own_split = SPLITS[parts[2].lower()] if parts else ""
    shared: dict[str, tuple[Label, ...]] = {"": ()}
    for where, row in read_csv(path, ["youtube_id", "time_start", "time_end"]):
        youtube_id = row["youtube_id"]
        if not YOUTUBE_ID.fullmatch(youtube_id):
            raise AnnotationError(
                f"{where}: expected a YouTube id of 11 characters, got {youtube_id!r}; "
                "correct or remove the line"
            )
        start, end = (seconds(row[name], name, where) for name in ("time_start", "time_end"))
        split = row.get("split", "").lower() or own_split
        if split not in SPLITS:
            raise AnnotationError(
                f"{where}: expected a split of {', '.join(SPLITS)}, got {split!r}; correct the line"
            )
        name = row.get("label", "")
        labels = shared.setdefault(name, (Label(name),))
        yield Row(f"{youtube_id}_{start:06d}_{end:06d}", labels, SPLITS[split], where)


def seconds(text: str, name: str, where: str) -> int:
    """Whole seconds of a time written as an integer or a float."""
    try:
        value = float(text)
        if not 0 <= value < 1e6:
            raise ValueError
    except ValueError:
        raise AnnotationError(
            f"{where}: expected {name} in seconds, got {text!r}; correct or remove the line"
        ) from None
    return int(value)


def locate(root: Path, table: AnnotationTable) -> Located:
    """Find the clips below ``root``, in any folders.

    A clip is named by its id, with or without the zeros, or by its YouTube id alone where only
    one annotated clip comes from that video.
    """
    clips = Counter(annotation.id[:11] for annotation in table.annotations)
    index = {
        annotation.id[:11]: annotation
        for annotation in table.annotations
        if clips[annotation.id[:11]] == 1
    }
    index |= {annotation.id: annotation for annotation in table.annotations}
    return match(root, table, index, clip_name)


def clip_name(path: str) -> str:
    """The id that a file's name stands for."""
    name = stem(path)
    parts = CLIP.fullmatch(name)
    return f"{parts[1]}_{int(parts[2]):06d}_{int(parts[3]):06d}" if parts else name
