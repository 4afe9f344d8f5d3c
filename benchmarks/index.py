"""A store of a million videos: its index, opening it, `status`, planning, and resuming.

    python benchmarks/index.py [--videos 1000000] [--folder DIR]

The videos are empty files of the sizes of clips, listed in a CSV file with their classes; one more,
with the first id, is a real video. Planning and resuming are whole commands: `flowkit extract
--limit 1` on a new store, and on one that was killed when 90 % of the videos were committed, of
which its index has 89 %. Their commit records are synthetic, and their shards are empty. store.py
and web.py use the functions that make such stores.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import av
import numpy as np
from machine import describe_machine
from rich.console import Console

from flowkit.annotations import Annotation, AnnotationTable, Label
from flowkit.recipe import FlowRecipe, RGBRecipe, StoreRecipe
from flowkit.store import Store, create_or_open, rebuild_index, write_annotations

SHARD = 250
"""Videos of a 10-second clip that fit a shard of 1 GiB."""

FIRST = "class 0/!.mp4"
"""The only real video among the sources, with the first id."""

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

COMMAND = """
import atexit, sys, time
def measure():
    with open("/proc/self/status") as file:
        (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM:"))
    print(time.process_time(), int(peak) / 1024)
atexit.register(measure)
from flowkit.cli import main
main()
"""
"""A command that prints its CPU time and its largest memory at its end. What ``os.wait4`` says of
the memory of a child counts that of its parent before ``exec`` too.
"""


def video_id(number: int) -> str:
    """Like those of Kinetics: 11 characters and the times."""
    return f"{number * 2654435761 % 2**32:08x}_{number:06d}_{number + 10:06d}"


def source_path(number: int) -> str:
    """Where the video lies, in the folder of its class."""
    return f"class {number % 400}/{video_id(number)}.mp4"


def source_facts(number: int) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds."""
    return 10**6 + number, 10**18 + number


def fingerprint(number: int) -> dict[str, int | str]:
    """Return the fingerprint of a source, as commit records have it."""
    size, mtime_ns = source_facts(number)
    return {"size": size, "mtime_ns": mtime_ns, "digest": "ab" * 16}


def write_records(root: Path, videos: int, sources: Path | None = None, first: int = 0) -> None:
    """Commit records as an extraction would leave them; their shards are sparse files.

    With a folder of sources the ids are those of its videos, which have RGB alone.
    """
    parent, streams = sources or "/data/kinetics/train", ["rgb"] if sources else ["rgb", "flow"]
    folder = root / "frames"
    for start in range(first, videos, SHARD):
        uuid = str(uuid4())
        entries = [
            {
                "id": source_path(number) if sources else video_id(number),
                "source": f"{parent}/{source_path(number)}",
                "fingerprint": fingerprint(number),
                "streams": streams,
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
    create_or_open(root, StoreRecipe(rgb=RGBRecipe(), flow=FlowRecipe()), "many")
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
        f"Opening a store of {count:,.0f} videos: {opened:.1f} ms (bar: < 10), first look-up "
        f"by id {found:.0f} µs, {memory:.1f} MiB more resident (bar: < 50), "
        f"{anonymous:.1f} MiB of it anonymous  [median of 5 processes]\n"
    )


def write_sources(folder: Path, videos: int) -> Path:
    """Write the videos, and the CSV file that lists them with their classes."""
    for label in range(min(400, videos)):
        (folder / f"class {label}").mkdir(parents=True)
    with (folder.parent / "labels.csv").open("w") as table:
        table.write(f"path,label\n{FIRST},class 0\n")
        for number in range(videos):
            path, (size, mtime_ns) = folder / source_path(number), source_facts(number)
            table.write(f"{source_path(number)},class {number % 400}\n")
            with path.open("wb") as file:
                file.truncate(size)
            os.utime(path, ns=(mtime_ns, mtime_ns))
    with av.open(str(folder / FIRST), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for level in range(4):
            frame = np.full((64, 64, 3), 60 * level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    return folder.parent / "labels.csv"


def run(title: str, arguments: Sequence[str | Path], console: Console, bar: str) -> None:
    """Run a command of flowkit, and print its time and its largest memory."""
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"flowkit {' '.join(command[3:])} failed:\n{done.stdout}")
    cpu, mebibytes = map(float, done.stdout.split()[-2:])
    console.print(
        f"{title}: {seconds:.1f} s ({cpu:.1f} s of CPU), {mebibytes:.0f} MiB (bar: {bar})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where files are written and removed again")
    options = parser.parse_args()
    console = Console()
    console.print(f"{describe_machine()}; {options.videos:,} videos")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        measure_all(Path(name), options.videos, console)


def measure_all(folder: Path, videos: int, console: Console) -> None:
    """Every measurement, from opening to resuming."""
    sources = folder / "videos"
    labels = write_sources(sources, videos)
    whole = folder / "whole"
    make_many(whole, videos, console)
    measure_open(whole, console)
    run("flowkit status", ["status", whole], console, "< 3 s")
    shutil.rmtree(whole)
    extract = ["extract", "--videos", sources, "--labels", labels, "--workers", "0", "--limit", "1"]
    extract += ["--streams", "rgb", "--store"]
    run("Planning, and one video", [*extract, folder / "new"], console, "< 60 s, < 2048 MiB")
    killed = folder / "killed"
    create_or_open(killed, StoreRecipe(rgb=RGBRecipe()), "many")
    indexed = videos * 89 // 100 // SHARD * SHARD
    write_records(killed, indexed, sources)
    rebuild_index(killed)
    write_records(killed, videos * 9 // 10, sources, indexed)
    run("Resuming at 90 %, and one video", [*extract, killed], console, "< 60 s")


if __name__ == "__main__":
    main()
