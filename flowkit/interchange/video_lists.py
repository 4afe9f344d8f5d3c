"""Write and read the lists of an export: ``videos.csv``, ``classes.txt`` and annotation lists."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from flowkit.errors import UsageError
from flowkit.interchange.file_names import encode_id
from flowkit.interchange.formats.shards import ShardRecord
from flowkit.store.format.atomic import write_atomic
from flowkit.store.reader import Store
from flowkit.store.video import Video

COLUMNS = (
    "name", "id", "frames", "flow", "fps", "width", "height", "labels", "subsets", "source_digest"
)  # fmt: skip
"""Columns of ``videos.csv``. The last one identifies the content of the source file."""
NEEDED = ("name", "id", "fps")
"""Columns that are read again; the others are for people and other tools."""


def describe_video(video: Video) -> dict[str, str]:
    """Make the row of a video in ``videos.csv``.

    Args:
        video: Video of the store.

    Returns:
        The value of each of `COLUMNS`, as a string.
    """
    labels = list(dict.fromkeys(label.name for label in video.labels))
    values = (
        encode_id(video.id), video.id, video.num_frames, video.num_flow, video.fps, video.width,
        video.height, *(json.dumps(names, ensure_ascii=False) for names in (labels, video.subsets)),
        video.fingerprint.digest,
    )  # fmt: skip
    return dict(zip(COLUMNS, map(str, values), strict=True))


def read_videos(folder: Path) -> list[dict[str, str]]:
    """Read the ``videos.csv`` of an export.

    Args:
        folder: Folder of the export.

    Returns:
        One dict per row; empty if there is no such file.

    Raises:
        UsageError: The file cannot be read, lacks a column, or has a line that is cut or whose
            frame rate is not a number of at least 0.
    """
    path = folder / "videos.csv"
    if not path.exists():
        return []
    line = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (table.fieldnames or ())]
            if missing:
                raise ValueError(f"column {missing[0]} is missing")
            rows = []
            for row in table:
                line = table.line_num
                if any(row[name] is None for name in NEEDED):
                    raise ValueError("the line is cut")
                if not 0 <= float(row["fps"]) < math.inf:
                    raise ValueError(f"fps is {row['fps']}")
                rows.append(row)
            return rows
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(
            f"{path}:{line}: expected the videos of an export ({error}); export to a new folder"
        ) from None


def write_lists(store: Store, out: Path, rows: dict[str, dict[str, str]], has_lists: bool) -> int:
    """Write ``videos.csv``, ``classes.txt`` and, for mmaction2, a list for each subset and stream.

    A line of a list is ``<folder> <total_frames> <class id>[ <class id>…]``, which RawframeDataset
    splits at blanks. Flow lists count flow fields instead of frames, so that no index exceeds the
    last field.

    Args:
        store: Store that was exported.
        out: Folder of the export.
        rows: Rows of ``videos.csv`` by folder name; those of videos in the store are updated.
        has_lists: Whether to write the lists of mmaction2.

    Returns:
        The number of videos without labels, which are in no list.
    """
    lines: dict[str, list[str]] = {}
    unlabelled = 0
    earlier_lists = name_lists(read_videos(out)) if has_lists else set()
    classes = {name: index for index, name in enumerate(store.classes)}
    for folder_name in rows:
        if rows[folder_name]["id"] not in store:
            continue
        row = rows[folder_name] = describe_video(store[rows[folder_name]["id"]])
        labels = " ".join(str(classes[label]) for label in json.loads(row["labels"]))
        unlabelled += not labels
        for subset in (json.loads(row["subsets"]) or ["all"]) if labels else []:
            for stream, count in (("rgb", row["frames"]), ("flow", row["flow"])):
                if getattr(store.recipe, stream) is not None and int(count):
                    file = f"{quote(subset, safe='')}_{stream}.txt"
                    lines.setdefault(file, []).append(f"{folder_name} {count} {labels}")
    write_tables(store, out, rows.values(), COLUMNS)
    if has_lists:
        for file, listed in lines.items():
            write_atomic(out / file, ("\n".join(listed) + "\n").encode())
        # Lists of subsets that the store had at an earlier export; their class ids may be others.
        for file in earlier_lists - lines.keys():
            (out / file).unlink(missing_ok=True)
    return unlabelled


def name_lists(rows: Iterable[dict[str, str]]) -> set[str]:
    """Return the names of the annotation lists that an export with these videos may have."""
    subsets = {name for row in rows for name in json.loads(row.get("subsets") or "[]")} | {"all"}
    return {
        f"{quote(name, safe='')}_{stream}.txt" for name in subsets for stream in ("rgb", "flow")
    }


def write_shard_lists(
    store: Store, out: Path, records: Iterable[ShardRecord], encode: Callable[[str], str]
) -> int:
    """Write ``videos.csv``, with a column for the shard of each video, and ``classes.txt``.

    Args:
        store: Store that was exported.
        out: Folder of the export.
        records: Records of all shards.
        encode: Function that makes the name of a video from its id.

    Returns:
        The number of videos without labels.
    """
    shards = {id: record.name for record in records for id, _, _ in record.videos}
    rows = [
        describe_video(store[id]) | {"name": encode(id), "shard": shards[id]}
        for id in sorted(shards)
    ]
    write_tables(store, out, rows, (*COLUMNS, "shard"))
    return sum(row["labels"] == "[]" for row in rows)


def write_tables(
    store: Store, out: Path, rows: Iterable[dict[str, str]], columns: tuple[str, ...]
) -> None:
    """Write ``videos.csv`` and ``classes.txt``.

    Args:
        store: Store that was exported.
        out: Folder of the export.
        rows: Rows of ``videos.csv``.
        columns: Its columns.
    """
    csv_file = io.StringIO(newline="")
    table = csv.DictWriter(csv_file, columns)
    table.writeheader()
    table.writerows(rows)
    write_atomic(out / "videos.csv", csv_file.getvalue().encode())
    write_atomic(out / "classes.txt", "".join(f"{name}\n" for name in store.classes).encode())
