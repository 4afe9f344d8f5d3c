"""What label files cost: time and memory of reading them and of matching them with videos.

    python benchmarks/labels.py [--rows N] [--files N]

All times are given as wall-clock time and as CPU time; the latter is what a quiet machine needs.

1. Reading N rows with an id, one of 400 labels, a subset and a person, in each format: seconds, and
   the peak memory of a fresh process that does nothing else (imports included).
2. Matching them with N videos, in each way: seconds from the rows and the paths to annotations and
   sources.
3. The same with files on a disk: FILES empty ones are created, listed and matched.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import describe_machine
from rich.console import Console
from rich.table import Table

from flowkit.annotations.label_files import (
    LabelOptions,
    locate_labelled_videos,
    read_label_files,
)
from flowkit.annotations.video_files import list_videos

CLASSES, PERSONS = 400, 5_000
MAX_SECONDS, MAX_MEGABYTES, MAX_MATCH_SECONDS = 10.0, 1_000, 30.0
console = Console(width=120, markup=False, highlight=False)

Row = tuple[str, str, str, str]


def make_row(n: int) -> Row:
    """The n-th row: path, label, subset, person. Neighbours are of different classes."""
    label = f"class {n % CLASSES:03}"
    subset = "train" if n % 10 else "val"
    return f"{label}/v_{n:07}.mp4", label, subset, f"p{n % PERSONS}"


NAMES = ("path", "label", "subset", "person")


def write_table(path: Path, rows: int, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(NAMES)
        writer.writerows(make_row(n) for n in range(rows))


def write_json(path: Path, rows: int) -> None:
    path.write_text(json.dumps([dict(zip(NAMES, make_row(n), strict=True)) for n in range(rows)]))


def write_json_by_video(path: Path, rows: int) -> None:
    values = (make_row(n) for n in range(rows))
    path.write_text(json.dumps({v[0]: dict(zip(NAMES[1:], v[1:], strict=True)) for v in values}))


def write_json_lines(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for n in range(rows):
            file.write(json.dumps(dict(zip(NAMES, make_row(n), strict=True))) + "\n")


def write_lines(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{make_row(n)[0]} {n % CLASSES}\n" for n in range(rows))


def write_parquet(path: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = zip(*(make_row(n) for n in range(rows)), strict=True)
    pq.write_table(pa.table(dict(zip(NAMES, map(list, columns), strict=True))), path)


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "labels.csv": write_table,
    "labels.tsv": lambda path, rows: write_table(path, rows, "\t"),
    "list.json": write_json,
    "by_video.json": write_json_by_video,
    "labels.jsonl": write_json_lines,
    "labels.parquet": write_parquet,
    "lines.txt": write_lines,
}
WAYS: dict[str, Callable[[str], str]] = {
    "path": str,
    "path without extension": lambda path: path.removesuffix(".mp4"),
    "file name": lambda path: path.rpartition("/")[2],
    "stem": lambda path: path.rpartition("/")[2].removesuffix(".mp4"),
    "/data/… before the path": lambda path: f"/data/videos/{path}",
}
"""What the rows have instead of the path of the video."""


class Stopwatch:
    """Measures wall-clock and CPU seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.cpu

    def __str__(self) -> str:
        return "{:.1f} s (CPU {:.1f} s)".format(*self.read())


def read_file(path: Path) -> None:
    """Read one file, and print seconds, megabytes and the number of videos as JSON."""
    watch = Stopwatch()
    listing = read_label_files([path])
    seconds = watch.read()
    # ru_maxrss would include the peak of the parent before it started this process.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    print(json.dumps([*seconds, peak, len(listing.ids), len(listing.classes)]))


def measure_reading(folder: Path, rows: int) -> None:
    table = Table(title=f"Reading {rows:,} rows", title_justify="left")
    for name in ("file", "MB", "wall s", "CPU s", "of the bar", "peak MB", "of the bar"):
        table.add_column(name, justify="right")
    for name, write in WRITERS.items():
        path = folder / name
        write(path, rows)
        command = [sys.executable, __file__, "--read", str(path)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        wall, cpu, peak, videos, classes = json.loads(output)
        assert (videos, classes) == (rows, min(rows, CLASSES)), (name, videos, classes)
        table.add_row(
            name, f"{path.stat().st_size / 1e6:.0f}", f"{wall:.1f}", f"{cpu:.1f}",
            f"{wall / MAX_SECONDS:.2f}", f"{peak:.0f}", f"{peak / MAX_MEGABYTES:.2f}",
        )  # fmt: skip
        path.unlink()
    console.print(table)


def measure_matching(folder: Path, rows: int) -> None:
    paths = sorted(make_row(n)[0] for n in range(rows))
    table = Table(title=f"Matching {rows:,} rows with as many videos", title_justify="left")
    for name in ("the rows have", "wall s", "CPU s", "of the bar"):
        table.add_column(name, justify="right")
    for way, get_id in WAYS.items():
        path = folder / "way.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("path,label\n")
            file.writelines(f"{get_id(p)},{p[:9]}\n" for p, *_ in map(make_row, range(rows)))
        listing = read_label_files([path])
        watch = Stopwatch()
        found = locate_labelled_videos(folder, listing, paths=paths)
        wall, cpu = watch.read()
        assert len(found.located.sources) == len(found.table.annotations) == rows
        table.add_row(way, f"{wall:.1f}", f"{cpu:.1f}", f"{wall / MAX_MATCH_SECONDS:.2f}")
    console.print(table)


def measure_files(folder: Path, files: int) -> None:
    root = folder / "videos"
    for n in range(files):
        path = root / make_row(n)[0]
        if n < CLASSES:
            path.parent.mkdir(parents=True)
        path.touch()
    path = folder / "files.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("id;label\n")
        file.writelines(f"v_{n:07};{make_row(n)[1]}\n" for n in range(files))
    times = []
    watch = Stopwatch()
    listing = read_label_files([path], LabelOptions(file_template="{id}.mp4"))
    times.append(f"read {watch}")
    watch = Stopwatch()
    paths = list_videos(root)
    times.append(f"files listed {watch}")
    watch = Stopwatch()
    found = locate_labelled_videos(root, listing, paths=paths)
    times.append(f"matched {watch}")
    assert len(found.located.sources) == files
    console.print(f"{files:,} files on disk, rows by --file-template: {', '.join(times)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read_file(options.read)
        return
    console.print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        measure_reading(Path(folder), options.rows)
        measure_matching(Path(folder), options.rows)
        measure_files(Path(folder), options.files)


if __name__ == "__main__":
    main()
