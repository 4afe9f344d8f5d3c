"""The web view of a large store: how soon a page answers, and how much memory the server takes.

    python benchmarks/web.py
    python benchmarks/web.py --videos 20000        # quicker

The server runs on one core, as `flowkit view` starts it, over an index of 250,000 videos whose
shards hold nothing, and then over rendered videos, whose pictures it sends. Times are those of a
client on the same machine, from the request to the last byte. The first answers are those of a new
server, which has read nothing yet.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from index import make_many
from machine import describe_machine
from rich.console import Console
from rich.table import Table

from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import Fingerprint, ShardWriter, VideoMeta, create_or_open, rebuild_index
from flowkit.store.format import jpeg

console = Console(width=110)
OVERVIEW_BAR, GRID_BAR, MEMORY_BAR, PICTURES_BAR = 500, 300, 300, 50
SERVE = """
import sys
from pathlib import Path
from flowkit.web.server import serve_store
serve_store(Path(sys.argv[1]), (), lambda line: print(line, flush=True), port=18080)
"""
GRIDS = {
    "first page of the grid": "",
    "page in the middle": "offset={middle}",
    "by motion, largest first": "sort=motion&descending=1",
    "by length": "sort=duration",
    "one class": "class=class+7",
    "text in the id": "text=abc",
    "length and motion": "where=duration%3E5+and+motion%3E1",
    "missing videos": "status=missing",
}
"""Pages of the grid that are measured, and their queries."""


@dataclass
class Server:
    """A server in a process of its own, on one core."""

    process: "subprocess.Popen[str]"
    connection: http.client.HTTPConnection

    def get(self, target: str) -> bytes:
        """Return what the server answers."""
        self.connection.request("GET", target)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{target}: {answer.status} {content[:200]!r}")
        return content

    def time(self, target: str) -> float:
        """Return how many milliseconds an answer takes."""
        start = time.perf_counter()
        self.get(target)
        return (time.perf_counter() - start) * 1e3

    def read_memory(self, name: str) -> float:
        """Return a field of the process's status in MiB, such as VmHWM, the peak."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        raise SystemExit(f"no {name} in the status of the server")


@contextmanager
def serve(root: Path) -> Iterator[Server]:
    """Run a server of a store, on the last core that this process may use."""
    core = max(os.sched_getaffinity(0))
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(root)], stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        while line and "http://" not in line:
            line = process.stdout.readline()
        port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
        yield Server(process, http.client.HTTPConnection("127.0.0.1", port, timeout=60))
    finally:
        process.terminate()
        process.wait()


def measure_pages(root: Path, videos: int, rounds: int) -> None:
    """Measure the overview and pages of the grid, and then the memory of the server."""
    table = Table(title=f"{videos:,} videos, milliseconds", title_justify="left")
    for name in ("answer", "first", f"median of {rounds} more", "bar", "met"):
        table.add_column(name, justify="left" if name == "answer" else "right")
    targets = {"overview": "/api/overview"} | {
        name: f"/api/videos?{query.format(middle=videos // 2)}&limit=60"
        for name, query in GRIDS.items()
    }
    for name, target in targets.items():
        with serve(root) as server:
            server.get("/static/main.js")  # the connection and the process are awake
            first = server.time(target)
            more = float(np.median([server.time(target) for _ in range(rounds)]))
        bar = OVERVIEW_BAR if name == "overview" else GRID_BAR
        met = "yes" if first < bar else "NO"
        table.add_row(name, f"{first:.0f}", f"{more:.1f}", f"< {bar}", met)
    console.print(table)
    with serve(root) as server:
        started = server.read_memory("VmRSS")
        for target in (*targets.values(), *targets.values()):
            server.get(target)
        peak, anonymous = server.read_memory("VmHWM"), server.read_memory("RssAnon")
    console.print(
        f"Memory of the server after all of them: {peak:.0f} MiB at most (bar: < {MEMORY_BAR}: "
        f"{'met' if peak < MEMORY_BAR else 'NOT met'}), {anonymous:.0f} MiB of it anonymous; "
        f"{started:.0f} MiB at the start\n"
    )


def make_pictures(root: Path, videos: int, frames: int, size: int = 256) -> None:
    """Make a store of smooth random pictures, with flow of the same size."""
    recipe = StoreRecipe(resize=Resize(mode="none"), rgb=RGBRecipe(), flow=FlowRecipe())
    create_or_open(root, recipe, "rendered")
    rng = np.random.default_rng(0)
    writer = ShardWriter(root, recipe=recipe)
    noise = rng.integers(0, 256, (size + frames, size + frames, 3), np.uint8)
    flow = [jpeg.encode_grey(np.ascontiguousarray(noise[:size, :size, c]), 95) for c in (0, 1)]
    for number in range(videos):
        writer.begin(f"{number:05d}.mp4")
        for t in range(frames):
            row = {"rgb": jpeg.encode_rgb(np.ascontiguousarray(noise[t : t + size, :size]), 95)}
            if t + 1 < frames:
                row |= {"flow_x": flow[0], "flow_y": flow[1]}
            writer.append(**row)
        fingerprint = Fingerprint(size=number, mtime_ns=number, digest=f"{number:032x}")
        writer.end(VideoMeta(
            id=f"{number:05d}.mp4", source="rendered", fingerprint=fingerprint,
            streams=("rgb", "flow"), frames=frames, fps=25.0, width=size, height=size,
        ))  # fmt: skip
    writer.close()
    rebuild_index(root)


def measure_pictures(root: Path, seconds: float) -> None:
    """Measure pictures a second: single ones, as the grid asks, and bundles, as the player does."""
    with serve(root) as server:
        videos = json.loads(server.get("/api/videos?limit=200"))["videos"]

        def ask_picture(number: int) -> int:
            video = videos[number % len(videos)]
            return len(server.get(f"/image/{video['key']}/rgb/{number % video['frames']}.jpg"))

        def ask_bundle(number: int) -> int:
            video = videos[number % len(videos)]
            return len(server.get(f"/api/video/{video['key']}/frames?count=16"))

        for name, ask, pictures in (("pictures", ask_picture, 1), ("bundles", ask_bundle, 16 * 3)):
            rate, size = measure_rate(ask, seconds)
            bar = f" (bar: ≥ {PICTURES_BAR}: {'met' if rate >= PICTURES_BAR else 'NOT met'})"
            console.print(
                f"{rate:,.0f} {name} a second on one core, {size / 1e3:,.0f} kB each"
                + (bar if pictures == 1 else f": about {rate * pictures:,.0f} pictures")
            )


def measure_rate(ask: Callable[[int], int], seconds: float) -> tuple[float, float]:
    """Return how many requests a second are answered, and the mean size of an answer in bytes."""
    ask(0)
    count, size, start = 0, 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        size += ask(count)
        count += 1
    return count / (time.perf_counter() - start), size / count


def main() -> None:
    """Make both stores, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=250_000)
    parser.add_argument("--rounds", type=int, default=5, help="answers after the first one")
    parser.add_argument("--seconds", type=float, default=5.0, help="time to ask for pictures")
    parser.add_argument("--work", type=Path, help="folder on the disk to measure")
    parser.add_argument("--store", type=Path, help="a store of many videos that is there already")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    console.print(f"{describe_machine()}; load {load:.1f} at the start\n")
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        root = options.store or Path(name) / "many"
        if options.store is None:
            make_many(root, options.videos, console)
        videos = options.videos if options.store is None else count_videos(root)
        measure_pages(root, videos, options.rounds)
        make_pictures(Path(name) / "pictures", 40, 32)
        measure_pictures(Path(name) / "pictures", options.seconds)


def count_videos(root: Path) -> int:
    """Count the videos of a store."""
    from flowkit.store import Store

    return len(Store(root))


if __name__ == "__main__":
    main()
