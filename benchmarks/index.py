"""A store of many videos: rebuilding its index, opening it, and random snippets.

    python benchmarks/index.py [videos]

The records are synthetic (their shards are not there); the snippets come from real shards of
noise bytes of the sizes that 256×256 frames have.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import numpy as np

from flowkit.annotations import Annotation, AnnotationTable, Label
from flowkit.recipe import FlowRecipe, Recipe, RGBRecipe
from flowkit.store import (
    Fingerprint,
    ShardWriter,
    Store,
    VideoMeta,
    create_or_open,
    rebuild_index,
    write_annotations,
)

RECIPE = Recipe(rgb=RGBRecipe(), flow=FlowRecipe())
SHARD = 250
"""Videos of a 10-second clip that fit a shard of 1 GiB."""
OPEN = """
import os, sys, time, psutil
from flowkit.store import Store
Store(sys.argv[1])  # modules are loaded, the page cache is warm
before = anonymous = psutil.Process().memory_full_info().uss
start = time.perf_counter()
store = Store(sys.argv[1])
first = store[0].id
seconds = time.perf_counter() - start
print(len(store), seconds, (psutil.Process().memory_full_info().uss - before) / 1e6)
"""


def video_id(number: int) -> str:
    """Like those of Kinetics: 11 characters and the times."""
    return f"{number * 2654435761 % 2**32:08x}_{number:06d}_{number + 10:06d}"


def write_records(root: Path, videos: int) -> None:
    """Commit records of shards that do not exist, as an extraction would leave them."""
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


def annotate(videos: int) -> AnnotationTable:
    """One label and one subset for each video."""
    classes = tuple(f"class {k}" for k in range(400))
    rows = (
        Annotation(video_id(k), (Label(classes[k % 400]),), ("val" if k % 10 else "train",))
        for k in range(videos)
    )
    return AnnotationTable(classes, tuple(sorted(rows, key=lambda row: row.id)))


def write_shards(root: Path, videos: list[str], frames: int = 300) -> int:
    """Real shards of noise, 15 kB per RGB frame and 2 × 3 kB per flow field; their image bytes."""
    rng = np.random.default_rng(0)
    noise = rng.bytes(1 << 20)
    writer = ShardWriter(root, recipe=RECIPE)
    total = 0

    def cut(mean: int) -> bytes:
        length = int(rng.integers(mean * 3 // 4, mean * 5 // 4))
        start = int(rng.integers(0, len(noise) - length))
        return noise[start : start + length]

    for id in videos:
        writer.begin(id)
        for t in range(frames):
            last = t == frames - 1
            row = {"rgb": cut(15000), "flow_x": None, "flow_y": None}
            row |= {} if last else {"flow_x": cut(3000), "flow_y": cut(3000)}
            total += sum(len(value or b"") for value in row.values())
            writer.append(**row)
        writer.end(
            VideoMeta(
                id=id,
                source=f"/data/kinetics/train/some class/{id}.mp4",
                fingerprint=Fingerprint(10**6, 10**18, "ab" * 16),
                streams=("rgb", "flow"),
                frames=frames,
                fps=29.97,
                width=256,
                height=256,
                provenance={"backend": "numba", "host": "node17", "seconds": {"flow": 9.87}},
            )
        )
    writer.close()
    return total


def seconds_of(work: object, *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)  # type: ignore[operator]
    return time.perf_counter() - start


def main(videos: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        create_or_open(root, RECIPE, None)
        write_records(root, videos)
        write_annotations(root, annotate(videos))
        print(f"index of {videos} videos from records  {seconds_of(rebuild_index, root):8.2f} s")
        print(f"nothing new                          {seconds_of(rebuild_index, root):8.3f} s")
        real = [f"real {k}" for k in range(40)]
        image_bytes = write_shards(root, real)
        print(f"40 videos more                       {seconds_of(rebuild_index, root):8.2f} s")
        out = subprocess.run(
            [sys.executable, "-c", OPEN, str(root)], capture_output=True, text=True, check=True
        ).stdout.split()
        print(f"open                                 {float(out[1]) * 1e3:8.1f} ms")
        print(f"memory of its own while open         {float(out[2]):8.1f} MB")
        size = sum(
            path.stat().st_size
            for path in (root / "frames").iterdir()
            if path.suffix == ".arrow" or (path.suffix == ".json" and "real" in path.read_text())
        )
        print(f"on disk over the JPEG bytes          {100 * (size / image_bytes - 1):8.3f} %")
        snippets(Store(root), real)
        print(
            f"peak memory of this process          {resource.getrusage(0).ru_maxrss / 1e3:8.0f} MB"
        )


def snippets(store: Store, ids: list[str], count: int = 40000) -> None:
    """Random snippets by id, warm; and lookups alone over the whole index; per second of a core."""
    rng = np.random.default_rng(1)
    picks = [
        (ids[v], int(t))
        for v, t in zip(rng.integers(0, len(ids), count), rng.integers(0, 294, count), strict=True)
    ]
    for _ in range(2):
        start = time.process_time()
        for id, t in picks:
            store[id].snippet(t)
        seconds = time.process_time() - start
    print(f"store[id].snippet(t)                 {count / seconds:8.0f} /s")
    some = [store.ids[int(row)] for row in rng.integers(0, len(store), count)]
    start = time.process_time()
    for id in some:
        store[id]
    print(f"store[id]                            {count / (time.process_time() - start):8.0f} /s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 250_000)
