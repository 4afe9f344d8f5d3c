"""Feature files straight from videos, beside nothing but flow and nothing but the networks.

    python benchmarks/feature_files.py [--clips DIR] [--preset fast] [--stride 16] [--workers 2]
    python benchmarks/feature_files.py --workers 0      the same in one process, with its CPU time
    python benchmarks/feature_files.py --memory         peak memory on videos of minutes and hours

I3D (Inception) with random weights on RGB and TV-L1 flow, windows of 16 frames, shorter side 256,
crops of 224. Prints, from one run:

1. what each stage takes alone, in one thread: decoding, flow, cropping and assembling, and the
   networks over as many batches as the clips have (a few batches are timed, since all are equal);
2. wall time of a run with W workers on the same clips, its frames per second, and its ratio to
   (flow + networks) ÷ W. The bar is 1.15 with two workers. On a machine that others use as well,
   its wall time says little; the CPU time of ``--workers 0`` then shows what is added to flow and
   networks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from clips import find_clips
from machine import describe_machine
from rich.console import Console

from flowkit.annotations import LocatedVideos, Source
from flowkit.decode import VideoReader
from flowkit.errors import FlowkitError
from flowkit.extraction.image_chunks import ImageChunk
from flowkit.flow import PRESETS, resolve_backend, tvl1_video_quantized
from flowkit.recipe import FlowRecipe, Resize, StoreRecipe
from flowkit.streams import STREAMS
from train.feature_files import FileOptions, FileRequest, extract_feature_files
from train.feature_files.run import choose_batch, load_networks
from train.feature_files.summary import Summary
from train.feature_files.window_images import WindowImages
from train.feature_files.windows import WindowSampling
from train.feature_files.worker import describe_inputs
from train.features.embedding import embed_inputs
from train.features.network import FeatureNetwork, NetworkOptions
from train.features.weight_checks import make_feature_backbone

CHUNK, REPEAT, SHORT_SIDE = 16, 3, 256
Networks = dict[str, FeatureNetwork]


@dataclass
class Spent:
    """Time of one stage."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def timing(spent: Spent) -> Iterator[None]:
    """Add the wall time within, and the CPU time of this thread."""
    wall, cpu = time.perf_counter(), time.thread_time()
    yield
    spent.wall += time.perf_counter() - wall
    spent.cpu += time.thread_time() - cpu


def make_networks(
    folder: Path,
    backbone: str,
    length: int | None,
    streams: tuple[str, ...] = ("rgb", "flow"),
    size: int | None = None,
) -> dict[str, NetworkOptions]:
    """Write random weights of a backbone for each stream, and name them."""
    options = {}
    for stream in streams:
        channels = STREAMS[stream].channels
        torch.manual_seed(channels)
        file = folder / f"{stream}_{backbone}.pt"
        torch.save(make_feature_backbone(backbone, channels).state_dict(), file)
        options[stream] = NetworkOptions(
            model=str(file), backbone=backbone, stream=stream, crops="centre",
            clip_length=length, clip_stride=1 if length else None, size=size,
        )  # fmt: skip
    return options


def time_images(
    clips: list[Path], request: FileRequest, networks: Networks, batch: int
) -> tuple[dict[str, Spent], int, int]:
    """Measure the time of decoding, flow and assembling, each alone; count frames and rows."""
    cv2.setNumThreads(1)
    flow, backend = request.frames.flow, resolve_backend("auto")
    tvl1_video_quantized(np.zeros((2, 64, 64), np.uint8), flow.tvl1, flow.bound, backend)
    spent, frames, rows = {name: Spent() for name in ("decode", "flow", "assemble")}, 0, 0
    for clip in clips:
        with timing(spent["decode"]), VideoReader(clip, request.frames.resize) as reader:
            rgb = list(reader)
        grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb])
        chunks = []
        for start in range(0, len(rgb), CHUNK):
            several, fields = grey[max(0, start - 1) : start + CHUNK], []
            if len(several) > 1:
                with timing(spent["flow"]):
                    fields = list(tvl1_video_quantized(several, flow.tvl1, flow.bound, backend))
            part = rgb[start : start + CHUNK]
            chunks.append(ImageChunk(rgb=part, flow=fields, times=[None] * len(part)))
        images = WindowImages(describe_inputs(networks, request.windows.length),
                              request.windows, batch)  # fmt: skip
        with timing(spent["assemble"]):
            rows += sum(found.rows for found in images.make_batches(chunks))
        frames += len(rgb)
    return spent, frames, rows


def time_networks(networks: Networks, length: int, batch: int, rows: int) -> Spent:
    """Measure the time of the networks of both streams for so many rows, in one thread."""
    torch.set_num_threads(1)
    total = Spent()
    for stream, network in networks.items():
        size, spent = network.recipe.size, Spent()
        shape = (batch, 3 if stream == "rgb" else 2, length, size, size)
        inputs = torch.randint(0, 256, shape, dtype=torch.uint8)
        embed_inputs(network, inputs, "float32")
        for _ in range(REPEAT):
            with timing(spent):
                embed_inputs(network, inputs, "float32")
        total.wall += spent.wall * rows / REPEAT / batch
        total.cpu += spent.cpu * rows / REPEAT / batch
    return total


def run(
    clips: list[Path], request: FileRequest, options: FileOptions, copies: int = 1
) -> tuple[Summary, float]:
    """Compute the files; returns the summary and the CPU seconds of this process."""
    videos = [Source(f"{copy} {clip.name}", clip) for clip in clips for copy in range(copies)]
    before = time.process_time()
    summary = extract_feature_files(
        LocatedVideos(tuple(videos)), request, options, Console(quiet=True)
    )
    if summary.computed != len(videos):
        reason = summary.failed[0].reason if summary.failed else "it was interrupted"
        raise FlowkitError(f"{len(videos) - summary.computed} videos have no features: {reason}")
    return summary, time.process_time() - before


def measure_speed(clips: list[Path], folder: Path, options: argparse.Namespace) -> None:
    """Print each stage alone and the run."""
    windows = WindowSampling(length=16, stride=options.stride)
    request = FileRequest(
        out=folder / "features",
        networks=make_networks(folder, "i3d_inception", windows.length),
        windows=windows,
        keep_extension=True,
        frames=StoreRecipe(
            resize=Resize(mode="short-side", side=SHORT_SIDE, upsize=True),
            flow=FlowRecipe(tvl1=PRESETS[options.preset]),
        ),
    )
    networks = load_networks(request.networks)
    batch = choose_batch(None, "cpu", networks)
    alone, frames, rows = time_images(clips, request, networks, batch)
    alone["networks"] = time_networks(networks, windows.length, batch, rows)
    print(
        f"{len(clips)} clips, {frames} frames, shorter side {SHORT_SIDE}; preset {options.preset}, "
        f"stride {options.stride}: {rows} rows; batches of {batch}"
    )
    for stage, spent in alone.items():
        print(
            f"{stage + ' alone, one thread:':28}{spent.wall:8.1f} s   "
            f"{frames / spent.wall:8.2f} frames/s, CPU time {spent.cpu:.1f} s"
        )
    summary, cpu = run(clips, request, FileOptions(workers=options.workers, device="cpu"))
    work, bound = summary.work_seconds, alone["flow"].wall + alone["networks"].wall
    count = max(1, options.workers)
    print(
        f"{f'run, {options.workers} workers:':28}{work:8.1f} s   {frames / work:8.2f} frames/s, "
        f"after {summary.start_seconds:.1f} s of start-up"
    )
    print(f"ratio to (flow + networks) ÷ {count}: {count * work / bound:.2f} "
          f"({count * summary.wall_seconds / bound:.2f} with start-up)")  # fmt: skip
    if not options.workers:
        bound = alone["flow"].cpu + alone["networks"].cpu
        print(f"CPU time of the run: {cpu:.1f} s, {cpu / bound:.2f} × that of flow + networks")
    spent = summary.seconds
    print(
        f"in the workers: flow {spent.flow:.1f} s, networks {spent.network:.1f} s, "
        f"write {spent.write:.1f} s"
    )


MEMORY = """
import sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from feature_files import *

def read_anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    global peak
    while True:
        peak = max(peak, read_anonymous())
        time.sleep(0.02)

peak, folder, backbone, stride = 0.0, Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])
threading.Thread(target=watch, daemon=True).start()
length = 16 if backbone == "i3d_inception" else None
request = FileRequest(
    out=folder / "features",
    networks=make_networks(folder, backbone, length, size=None if length else 32),
    windows=WindowSampling(length=length or 1, stride=stride),
    frames=StoreRecipe(resize=Resize(mode="none"),
                  flow=FlowRecipe(tvl1=PRESETS["fast"])),
)
start = time.perf_counter()
summary, _ = run([Path(sys.argv[2])], request, FileOptions(workers=0, device="cpu"))
print(f"{peak:.0f} MiB; {summary.rows:,} rows in {time.perf_counter() - start:.0f} s")
"""


def measure_memory(folder: Path, minutes: float, side: int, backbone: str, stride: int) -> None:
    """Print the peak anonymous memory of a worker, on a rendered video at 25 frames a second."""
    clip, frames = folder / f"{minutes}x{side}.mkv", round(minutes * 60 * 25)
    noise = np.random.default_rng(0).integers(0, 255, (side // 8, side // 8, 3), np.uint8)
    picture = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        moved = [av.VideoFrame.from_ndarray(np.roll(picture, t, axis=1), format="rgb24")
                 .reformat(format="yuv420p") for t in range(8)]  # fmt: skip
        for t in range(frames):
            frame = moved[t % 8]
            frame.pts = t
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        here = str(Path(__file__).resolve().parent)
        command = [sys.executable, "-c", MEMORY, here, str(clip), out, backbone, str(stride)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"peak anonymous memory, {frames:7,} frames ({minutes:g} min) of {side}×{side}, "
          f"{backbone}, stride {stride}: {found.strip()}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of videos")
    parser.add_argument("--preset", choices=list(PRESETS), default="fast", help="of flow")
    parser.add_argument("--stride", type=int, default=16, help="frames between windows")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    print(f"{describe_machine()}; torch {torch.__version__}; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.memory:
            for minutes, side, backbone, stride in (
                (10, 32, "resnet18", 64), (120, 32, "resnet18", 64), (1, 256, "i3d_inception", 64),
            ):  # fmt: skip
                measure_memory(folder, minutes, side, backbone, stride)
            return
        measure_speed(find_clips(options.clips, folder), folder, options)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
