"""A store of many videos: how long its index takes to make, and to open.

Used by store.py, and by the slow test of the index. The records are synthetic, and their
shards hold nothing.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import numpy as np
from rich.console import Console

from flowkit.annotations import Annotation, AnnotationTable, Label
from flowkit.recipe import FlowRecipe, Recipe, RGBRecipe
from flowkit.store import Store, create_or_open, rebuild_index, write_annotations

SHARD = 250
"""Videos of a 10-second clip that fit a shard of 1 GiB."""

OPEN = """
import sys, time
def resident():
    with open("/proc/self/status") as file:
        rows = [line.split() for line in file]
    return {row[0]: int(row[1]) / 1024 for row in rows if row[0] in ("VmRSS:", "RssAnon:")}
import numpy, pyarrow, simplejpeg
from flowkit.store.reader import Store
before = resident(); start = time.perf_counter()
store = Store(sys.argv[1]); opened = time.perf_counter()
video = store[sys.argv[2]]; video.num_frames; found = time.perf_counter()
after = resident()
more = [after[name] - before[name] for name in ("VmRSS:", "RssAnon:")]
print((opened - start) * 1e3, (found - opened) * 1e6, *more, len(store))
"""


def video_id(number: int) -> str:
    """Like those of Kinetics: 11 characters and the times."""
    return f"{number * 2654435761 % 2**32:08x}_{number:06d}_{number + 10:06d}"


def write_records(root: Path, videos: int) -> None:
    """Commit records as an extraction would leave them; their shards are sparse files."""
    folder = root / "frames"
    for start in range(0, videos, SHARD):
        uuid = str(uuid4())
        entries = [
            {
                "id": video_id(number),
                "source": f"/data/kinetics/train/class {number % 400}/{video_id(number)}.mp4",
                "fingerprint": {"size": 10**6 + number, "mtime_ns": number, "digest": "ab" * 16},
                "streams": ["rgb", "flow"],
                "frames": 300,
                "fps": 29.97,
                "width": 256,
                "height": 256,
                "motion": {"mean": number * 0.618 % 8, "p95": number * 0.618 % 8 * 3},
                "warnings": [],
                "provenance": {"backend": "numba", "host": "node17", "seconds": {"flow": 9.87}},
                "batch": number - start,
                "batches": 1,
                "first_row": 0,
                "rows": 300,
            }
            for number in range(start, min(start + SHARD, videos))
        ]
        record = {"format": 1, "folder": "frames", "uuid": uuid, "rows": 300 * len(entries)}
        record |= {"bytes": 1 << 30, "sha256": "00" * 32, "committed": 1e9 + start}
        (folder / f"{uuid}.json").write_text(json.dumps(record | {"videos": entries}))
        with (folder / f"{uuid}.arrow").open("wb") as shard:
            shard.truncate(record["bytes"])


def annotate(videos: int) -> AnnotationTable:
    """One label and one subset for each video."""
    classes = tuple(f"class {k}" for k in range(400))
    rows = (
        Annotation(video_id(k), (Label(classes[k % 400]),), ("val" if k % 10 else "train",))
        for k in range(videos)
    )
    return AnnotationTable(classes, tuple(sorted(rows, key=lambda row: row.id)))


def make_many(root: Path, videos: int, console: Console) -> None:
    """A store of many videos, and how long its index took."""
    create_or_open(root, Recipe(rgb=RGBRecipe(), flow=FlowRecipe()), "many")
    write_records(root, videos)
    write_annotations(root, annotate(videos))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        rebuild_index(root)
        seconds.append(time.perf_counter() - start)
    console.print(
        f"Index of {videos:,} videos: {seconds[0]:.1f} s from records, "
        f"{seconds[1]:.2f} s where nothing is new"
    )


def measure_open(root: Path, console: Console) -> None:
    ids = Store(root).ids
    id = ids[len(ids) // 3]
    runs = [
        [float(x) for x in subprocess.run(
            [sys.executable, "-c", OPEN, str(root), id], check=True, capture_output=True, text=True
        ).stdout.split()]
        for _ in range(5)
    ]  # fmt: skip
    opened, found, memory, anonymous, count = np.median(runs, axis=0)
    console.print(
        f"Opening a store of {count:,.0f} videos: {opened:.1f} ms (bar: < 100), first look-up "
        f"by id {found:.0f} µs, {memory:.1f} MiB more resident (bar: < 60), "
        f"{anonymous:.1f} MiB of it anonymous  [median of 5 processes]\n"
    )
