"""How fast a store is exported in each format, beside the export for denseflow.

    python benchmarks/export.py STORE [--workers N] [--repeats N]

Each format writes all videos of the store to a temporary folder of the working directory. The best
of N repeats counts, and the formats take turns. "CPU" is the time of all threads in user and kernel
mode, which other work on the machine changes less than the time on the clock.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from machine import describe_machine
from rich.console import Console
from rich.table import Table

from flowkit.interchange.export import export
from flowkit.interchange.formats.registry import FORMATS
from flowkit.interchange.formats.stored_frames import count_bytes
from flowkit.store.reader import Store

console = Console(width=120, markup=False, highlight=False)


def measure_export(store: Store, format: str, workers: int) -> tuple[float, float]:
    """Seconds on the clock and of CPU for one export."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        wall, cpu = time.perf_counter(), sum(os.times()[:2])
        report = export(store, Path(folder) / "out", format, workers=workers)
        wall, cpu = time.perf_counter() - wall, sum(os.times()[:2]) - cpu
    if report.failures:
        raise SystemExit(f"{format}: {report.failures}")
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    store = Store(options.store)
    frames = sum(store[id].num_frames for id in store)
    size = sum(count_bytes(store, store[id], ("rgb", "flow")) for id in store)
    console.print(describe_machine())
    console.print(f"{len(store)} videos, {frames:,} frames, {size / 1e6:.0f} MB of images")
    times = {name: (float("inf"), float("inf")) for name in FORMATS}
    for _ in range(options.repeats):
        for name, best in times.items():
            found = measure_export(store, name, options.workers)
            times[name] = (min(best[0], found[0]), min(best[1], found[1]))
    table = Table(title=f"export, {options.workers} threads", title_justify="left")
    for heading in ("format", "seconds", "CPU s", "frames/s", "MB/s", "× denseflow", "CPU ×"):
        table.add_column(heading, justify="right")
    for name, (wall, cpu) in times.items():
        ratios = (times["denseflow"][0] / wall, times["denseflow"][1] / cpu)
        table.add_row(
            name, f"{wall:.2f}", f"{cpu:.2f}", f"{frames / wall:,.0f}", f"{size / wall / 1e6:.0f}",
            *(f"{ratio:.1f}" for ratio in ratios),
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
