"""What a store costs: JPEG settings, opening, reading, and bytes on disk.

    python benchmarks/store.py [--clips DIR] [--pairs N] [--index-videos N] [--snippets N]

1. For each JPEG quality and subsampling: bytes per frame and PSNR/SSIM of RGB; bytes per flow
   field (x and y together) and endpoint error of quantization and JPEG, over real clips.
2. Making the index of N videos, and opening it: time, and memory, each in a fresh process.
3. Random snippets (1 RGB frame, 5 + 5 flow planes) per second, warm, one thread, beside the same
   bytes as loose JPEG files on the same disk.
4. The same snippets with ``Store(path, verify="read")``, which compares them with their checksums:
   its time over that of the unchecked reader, alone and with the decoding of the JPEGs.
5. Bytes of a store over the JPEG bytes in it.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from clips import find_clips
from index import make_many, measure_open
from machine import describe_machine
from rich.console import Console
from rich.table import Table

from flowkit.decode import read_video
from flowkit.flow import dequantize, quantize, tvl1
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import rebuild_index
from flowkit.store.format import jpeg
from flowkit.store.format.header import create_or_open
from flowkit.store.format.schema import Fingerprint, VideoMeta
from flowkit.store.reader import Store
from flowkit.store.writer import ShardWriter

SIZE = Resize(width=256, height=256)
BOUND = 20.0
QUALITIES = (75, 80, 85, 90, 95, 98)
SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")
SNIPPET = 5
console = Console(width=120, markup=False, highlight=False)


def read_pairs(videos: list[Path], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """``count`` evenly spaced pairs of consecutive RGB frames of each video, at the stored size."""
    pairs = []
    for path in videos:
        frames = list(read_video(path, SIZE))
        step = max(1, (len(frames) - 1) // count)
        pairs += [(frames[t], frames[t + 1]) for t in range(step // 2, len(frames) - 1, step)][
            :count
        ]
    return pairs


def measure_rgb(frames: list[np.ndarray]) -> None:
    table = Table(title="RGB frames", title_justify="left")
    for name in ("quality", "subsampling", "bytes/frame", "PSNR dB", "SSIM"):
        table.add_column(name, justify="right")
    for quality in QUALITIES:
        for subsampling in SUBSAMPLINGS:
            data = [jpeg.encode_rgb(frame, quality, subsampling) for frame in frames]
            seen = [jpeg.decode_rgb(each) for each in data]
            both = list(zip(frames, seen, strict=True))
            errors = [float(((a.astype(np.float32) - b) ** 2).mean()) for a, b in both]
            psnr = np.mean([10 * np.log10(255**2 / max(error, 1e-6)) for error in errors])
            ssim = np.mean([measure_ssim(grey(a), grey(b)) for a, b in both])
            size = np.mean([len(each) for each in data])
            table.add_row(f"{quality}", subsampling, f"{size:,.0f}", f"{psnr:.2f}", f"{ssim:.4f}")
    console.print(table)


def grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def measure_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al., IEEE TIP 2004: Gaussian window of 11 pixels, σ 1.5, on luma."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    blur: Callable[[np.ndarray], np.ndarray] = lambda v: cv2.GaussianBlur(v, (11, 11), 1.5)  # noqa: E731
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    index = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(index.mean())


def compute_flows(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(N, H, W, 2) float32 pixels, by the paper's TV-L1."""
    first = np.stack([grey(a) for a, _ in pairs])
    second = np.stack([grey(b) for _, b in pairs])
    return np.asarray(tvl1(first, second))


def measure_flow(flows: np.ndarray) -> None:
    """Endpoint errors of what comes back, over pixels that the bound does not clip."""
    inside = (abs(flows) <= BOUND).all(-1)
    edges = np.stack([find_edges(flow) for flow in flows]) & inside
    stored = quantize(flows, BOUND)
    still = np.stack([find_still_blocks(q) for q in stored])
    table = Table(
        title=f"Flow fields of {len(flows)} pairs: endpoint error in px; "
        f"{1 - inside.mean():.3%} of pixels beyond ±{BOUND:g} px left out; "
        f"{edges.mean():.1%} near motion edges, {still.mean():.1%} in 8×8 blocks of zero",
        title_justify="left",
    )
    for name in (
        "quality",
        "bytes/field",
        "mean",
        "p99",
        "edges mean",
        "edges p99",
        "zero blocks max",
    ):
        table.add_column(name, justify="right")
    for quality in (None, *QUALITIES):
        size, seen = 0.0, stored
        if quality is not None:
            data = [[jpeg.encode_grey(q[..., c], quality) for c in (0, 1)] for q in stored]
            size = float(np.mean([len(x) + len(y) for x, y in data]))
            seen = np.stack([np.stack([jpeg.decode_grey(p) for p in pair], -1) for pair in data])
        error = np.linalg.norm(dequantize(seen, BOUND) - flows, axis=-1)
        # on zero blocks the question is whether zero comes back, not how small the flow was
        zero = np.linalg.norm(dequantize(seen, BOUND), axis=-1)[still]
        table.add_row(
            "no JPEG" if quality is None else f"{quality}",
            f"{size:,.0f}" if size else "131,072",
            *(f"{value:.3f}" for value in summarize(error[inside]) + summarize(error[edges])),
            f"{zero.max(initial=0):.3f}",
        )
    console.print(table)


def summarize(values: np.ndarray) -> tuple[float, float]:
    return (float(values.mean()), float(np.percentile(values, 99))) if values.size else (0.0, 0.0)


def find_edges(flow: np.ndarray) -> np.ndarray:
    """Pixels within 4 of a place where neighbouring displacements differ by more than 1 px."""
    jump = np.zeros(flow.shape[:2], np.uint8)
    jump[:, 1:] |= np.linalg.norm(np.diff(flow, axis=1), axis=-1) > 1
    jump[1:] |= np.linalg.norm(np.diff(flow, axis=0), axis=-1) > 1
    return cv2.dilate(jump, np.ones((9, 9), np.uint8)).astype(bool)


def find_still_blocks(q: np.ndarray) -> np.ndarray:
    """Pixels of aligned 8×8 blocks (JPEG's) where both components are zero throughout."""
    height, width = q.shape[:2]
    still = (q == 128).all(-1).reshape(height // 8, 8, width // 8, 8).all((1, 3))
    return still.repeat(8, 0).repeat(8, 1)


def make_reading_store(
    root: Path,
    pairs: list[tuple[np.ndarray, np.ndarray]],
    flows: np.ndarray,
    videos: int,
    frames: int,
) -> int:
    """A store of real JPEGs, repeated; returns the sum of their bytes."""  # fmt: skip
    recipe = StoreRecipe(resize=SIZE, rgb=RGBRecipe(), flow=FlowRecipe())
    create_or_open(root, recipe, "reading")
    rows = []
    for (frame, _), flow in zip(pairs, flows, strict=True):
        x, y = (
            jpeg.encode_grey(quantize(flow, BOUND)[..., c], recipe.flow.quality) for c in (0, 1)
        )
        rgb = jpeg.encode_rgb(frame, recipe.rgb.quality, recipe.rgb.subsampling)
        rows.append({"rgb": rgb, "flow_x": x, "flow_y": y})
    writer, total = ShardWriter(root, recipe=recipe), 0
    for n in range(videos):
        writer.begin(f"v{n:05d}")
        for t in range(frames):
            row = rows[(n + t) % len(rows)]
            row = row if t < frames - 1 else {"rgb": row["rgb"]}
            writer.append(**row)
            total += sum(map(len, row.values()))
        writer.end(VideoMeta(
            id=f"v{n:05d}", source=f"videos/v{n:05d}.mp4",
            fingerprint=Fingerprint(n, n, f"{n:032x}"),
            streams=("rgb", "flow"), frames=frames, fps=25.0, width=256, height=256,
            provenance={"backend": "numba", "host": "node01", "seconds": {"flow": 1.0}},
        ))  # fmt: skip
    writer.close()
    rebuild_index(root)
    return total


def write_loose(store: Store, out: Path) -> None:
    """The same bytes as denseflow's files, without re-encoding."""
    for id in store:
        video, folder = store[id], out / id
        folder.mkdir(parents=True)
        for t in range(video.num_frames):
            (folder / f"img_{t:05d}.jpg").write_bytes(video.rgb_bytes(t))
        for t in range(video.num_flow):
            for axis, data in zip("xy", video.flow_bytes(t), strict=True):
                (folder / f"flow_{axis}_{t:05d}.jpg").write_bytes(data)


def read_loose(folder: str, t: int) -> list[bytes]:
    names = [f"img_{t:05d}.jpg"]
    names += [f"flow_{axis}_{t + k:05d}.jpg" for axis in "xy" for k in range(SNIPPET)]
    data = []
    for name in names:
        with open(f"{folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123  # the fastest way
            data.append(file.read())
    return data


def draw(store: Store, count: int) -> Iterator[tuple[str, int]]:
    rng = random.Random(0)
    for _ in range(count):
        video = store[rng.randrange(len(store))]
        yield video.id, rng.randrange(video.num_flow - SNIPPET + 1)


def measure_reading(store: Store, loose: Path, count: int) -> None:
    wanted = list(draw(store, count))
    for id, t in wanted[:200]:  # the same bytes either way
        snippet = store[id].snippet(t, SNIPPET)
        assert [snippet.rgb, *snippet.flow_x, *snippet.flow_y] == read_loose(f"{loose}/{id}", t)
    readers: dict[str, Callable[[str, int], object]] = {
        "store": lambda id, t: store[id].snippet(t, SNIPPET),
        "loose": lambda id, t: read_loose(f"{loose}/{id}", t),
    }
    wall: dict[str, list[float]] = {name: [] for name in readers}
    cpu: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(4):  # the first round warms the cache
        for name, read in readers.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            for id, t in wanted:
                read(id, t)
            wall[name].append(count / (time.perf_counter() - start))
            cpu[name].append(count / (time.process_time() - start_cpu))
    for what, rates in (("second", wall), ("second of CPU time", cpu)):
        packed, files = (float(np.median(rates[name][1:])) for name in ("store", "loose"))
        console.print(
            f"Random snippets, warm, one thread: {packed:,.0f} per {what} from the store "
            f"(bar: ≥ 20,000), {files:,.0f} from loose JPEG files: {packed / files:.2f}×  "
            f"[median of 3 rounds of {count:,}]"
        )
    console.print()


def measure_checks(root: Path, count: int) -> None:
    """Time of the checked reader over that of the unchecked one, in turns."""
    stores = {"plain": Store(root), "checked": Store(root, verify="read")}
    for decoding in (False, True):
        wanted = list(draw(stores["plain"], count // 40 if decoding else count))
        wall: dict[str, list[float]] = {name: [] for name in stores}
        cpu: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(6):  # the first round warms the caches
            for name, store in stores.items():
                start, start_cpu = time.perf_counter(), time.process_time()
                for id, t in wanted:
                    snippet = store[id].snippet(t, SNIPPET)
                    if decoding:
                        snippet.decode()
                wall[name].append((time.perf_counter() - start) / len(wanted))
                cpu[name].append((time.process_time() - start_cpu) / len(wanted))
        times = {name: float(np.median(rounds[1:])) * 1e6 for name, rounds in wall.items()}
        cpu_times = {name: float(np.median(rounds[1:])) for name, rounds in cpu.items()}
        console.print(
            f"Checked snippets, {'decoded' if decoding else 'bytes alone'}: "
            f"{times['checked']:,.0f} µs each, {times['plain']:,.0f} µs unchecked: "
            f"{times['checked'] / times['plain']:.2f}× the time, "
            f"{cpu_times['checked'] / cpu_times['plain']:.2f}× the CPU time  "
            f"[median of 5 rounds of {len(wanted):,}]"
        )
    console.print()


def measure_disk(root: Path, jpeg_bytes: int) -> None:
    sizes = {
        ending: sum(path.stat().st_size for path in root.rglob(f"*{ending}"))
        for ending in (".arrow", ".json")
    }
    total = sum(sizes.values())
    console.print(
        f"On disk: {jpeg_bytes:,} bytes of JPEG, {total:,} of store (shards, records, index): "
        f"{total / jpeg_bytes - 1:.3%} more (bar: ≤ 0.5 %)\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of clips; default: beside the checkout")
    parser.add_argument("--pairs", type=int, default=4, help="frame pairs of each clip")
    parser.add_argument("--index-videos", type=int, default=250_000)
    parser.add_argument("--reading-videos", type=int, default=48)
    parser.add_argument("--reading-frames", type=int, default=150)
    parser.add_argument("--snippets", type=int, default=20_000)
    parser.add_argument("--work", type=Path, help="folder on the disk to measure")
    options = parser.parse_args()
    console.print(f"{describe_machine()}\n")
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        videos = find_clips(options.clips, work)
        pairs = read_pairs(videos, options.pairs)
        console.print(f"{len(pairs)} pairs of frames from {len(videos)} clips, at 256×256\n")
        measure_rgb([frame for frame, _ in pairs])
        flows = compute_flows(pairs)
        measure_flow(flows)
        make_many(work / "many", options.index_videos, console)
        measure_open(work / "many", console)
        size = options.reading_videos, options.reading_frames
        jpeg_bytes = make_reading_store(work / "reading", pairs, flows, *size)
        store = Store(work / "reading")
        write_loose(store, work / "loose")
        measure_reading(store, work / "loose", options.snippets)
        measure_checks(work / "reading", options.snippets)
        measure_disk(work / "reading", jpeg_bytes)


if __name__ == "__main__":
    main()
