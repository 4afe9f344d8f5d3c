"""End-to-end extraction against pure flow time, and against the script that people use.

    python benchmarks/extract.py [--clips DIR] [--workers 2] [--copies 2] [--frames 24]
    python benchmarks/extract.py --preset fast --copies 8    where the time goes when flow is fast
    python benchmarks/extract.py --device cuda --copies 100        on a GPU: extract_cuda.py

Prints, from one run:

1. the time of one frame: decoding, and becoming RGB of the stored size by our kernel and by
   swscale and OpenCV; and the time of each stage alone, in one thread: decoding (conversion and
   resizing included), nothing but TV-L1 on decoded frames, encoding of frames and fields;
2. wall time of ``flowkit extract`` with W workers on the same clips, and its ratio to flow / W
   (preset paper) and to the sum of the stages / W, start-up (Ray, loading kernels) told apart.
   Each clip is extracted ``--copies`` times under other names: with six videos on two workers,
   what one does last leaves the other idle for a tenth of the time, which is a matter of
   arithmetic and not of the engine;
3. peak memory of a worker, on a short and a long video and on an unresized 4K one;
4. pairs per second of the usual script (decode with OpenCV, ``cv2.optflow`` TV-L1 one pair at
   a time at its defaults, three JPEG files a frame), on the first frames of one clip.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import av
import cv2
import numpy as np
from clips import find_clips
from extract_cuda import measure as measure_on_gpu
from rich.console import Console

from flowkit.annotations import LocatedVideos, Source
from flowkit.decode import VideoReader, read_video
from flowkit.decode.conversion import FrameConverter
from flowkit.decode.orientation import Orientation
from flowkit.extraction import Options, extract
from flowkit.flow import PRESETS, resolve_backend, tvl1_video_quantized
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store.format.jpeg import encode_grey, encode_rgb

PAIRS_AT_ONCE = 16


def time_stages(clips: list[Path], recipe: StoreRecipe) -> tuple[dict[str, float], int]:
    """Measure the seconds of each stage alone, in one thread, and count the pairs."""
    cv2.setNumThreads(1)
    flow, rgb, backend = recipe.flow, recipe.rgb, resolve_backend("auto")
    tvl1_video_quantized(np.zeros((2, 64, 64), np.uint8), flow.tvl1, flow.bound, backend)
    read_video(clips[0], recipe.resize)  # these two load kernels
    seconds, pairs = {"decode": 0.0, "flow": 0.0, "encode": 0.0}, 0
    for clip in clips:
        with timing(seconds, "decode"), VideoReader(clip, recipe.resize) as reader:
            frames = list(reader)
        greys = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
        for first in range(0, len(greys) - 1, PAIRS_AT_ONCE):
            several = greys[first : first + PAIRS_AT_ONCE + 1]
            with timing(seconds, "flow"):
                fields = tvl1_video_quantized(several, flow.tvl1, flow.bound, backend)
            with timing(seconds, "encode"):
                for frame, field in zip(frames[first:], fields, strict=False):
                    encode_rgb(frame, rgb.quality, rgb.subsampling)
                    for component in range(2):
                        encode_grey(field[..., component], flow.quality)
        pairs += len(greys) - 1
    return seconds, pairs


@contextmanager
def timing(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time within to that of a stage."""
    start = time.perf_counter()
    yield
    seconds[stage] += time.perf_counter() - start


def time_conversion(clips: list[Path], resize: Resize) -> dict[str, float]:
    """Measure milliseconds a frame: decoding alone, and becoming RGB of the stored size."""
    seconds, count = {"decode": 0.0, "convert": 0.0, "swscale and cv2": 0.0}, 0
    for clip in clips:
        with av.open(str(clip)) as container:
            pictures = container.decode(video=0)
            first = next(pictures)
            size = resize.compute_size(first.width, first.height)
            converter = FrameConverter(size, resize.filter == "area", Orientation(), clip.name)
            converter.convert(first)
            while True:
                with timing(seconds, "decode"):
                    picture = next(pictures, None)
                if picture is None:
                    break
                with timing(seconds, "convert"):
                    converter.convert(picture)
                with timing(seconds, "swscale and cv2"):
                    converter.resize(converter.convert_with_swscale(picture))
                count += 1
    return {name: 1e3 * spent / count for name, spent in seconds.items()}


def time_script(clip: Path, folder: Path, frames: int) -> float:
    """Pairs per second of the usual script."""
    capture = cv2.VideoCapture(str(clip))
    solver = cv2.optflow.DualTVL1OpticalFlow_create()
    previous, count, start = None, 0, time.perf_counter()
    for number in range(frames):
        good, frame = capture.read()
        if not good:
            break
        frame = cv2.resize(frame, (256, 256))
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), frame)
        if previous is not None:
            flow = solver.calc(previous, grey, None)
            for axis, name in enumerate("xy"):
                image = np.clip((flow[..., axis] + 20) * (255 / 40), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"flow_{name}_{number:05d}.jpg"), image)
            count += 1
        previous = grey
    return count / (time.perf_counter() - start)


MEMORY = """
import resource, sys
from pathlib import Path
from rich.console import Console
from flowkit.annotations import explicit_files
from flowkit.extraction import Options, extract
from flowkit.recipe import FlowRecipe, StoreRecipe, Resize, RGBRecipe
recipe = StoreRecipe(resize=Resize(mode="none"), rgb=RGBRecipe(), flow=FlowRecipe())
clips = explicit_files([Path(sys.argv[1])])
summary = extract(clips, Path(sys.argv[2]), recipe, Options(workers=0), console=Console(quiet=True))
assert summary.extracted == 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure_memory(folder: Path, width: int, height: int, frames: int) -> None:
    """Peak resident memory of one worker on a video of that size and length, unresized."""
    clip = folder / f"{width}x{height}x{frames}.mkv"
    noise = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(frames):
            moved = np.roll(picture, t, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode(None))
    command = [sys.executable, "-c", MEMORY, str(clip), str(folder / f"{clip.stem}-store")]
    peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"peak memory, {frames:6,} frames of {width}×{height}: {peak:6.0f} MiB (bar: < 1,500)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--clips", type=Path, help="folder of videos (default: beside the checkout)"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--copies", type=int, default=2, help="of each clip")
    parser.add_argument("--frames", type=int, default=24, help="of the usual script")
    parser.add_argument("--preset", choices=list(PRESETS), default="paper", help="of flow")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    recipe = StoreRecipe(rgb=RGBRecipe(), flow=FlowRecipe(tvl1=PRESETS[arguments.preset]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = find_clips(arguments.clips, folder)
        if arguments.device == "cuda":
            measure_on_gpu(clips, arguments.copies, folder, recipe, "triton")
            return
        alone, pairs = time_stages(clips, recipe)
        alone = {stage: arguments.copies * seconds for stage, seconds in alone.items()}
        pairs *= arguments.copies
        sources = tuple(
            Source(f"{clip.name} {copy}", clip)
            for clip in clips
            for copy in range(arguments.copies)
        )
        print(f"{len(clips)} clips, {arguments.copies} times each: {pairs} pairs at 256×256")
        frame = time_conversion(clips, recipe.resize)
        print("ms a frame: " + ", ".join(f"{name} {ms:.2f}" for name, ms in frame.items()))
        for stage, seconds in alone.items():
            print(
                f"{stage} alone, one thread:     {seconds:8.1f} s   {pairs / seconds:7.2f} pairs/s"
            )
        summary = extract(
            LocatedVideos(sources), folder / "store", recipe,
            Options(workers=arguments.workers), console=Console(quiet=True),
        )  # fmt: skip
        work = summary.wall_seconds - summary.start_seconds
        print(
            f"extract, {arguments.workers} workers:           {work:8.1f} s   "
            f"{pairs / work:7.2f} pairs/s, after {summary.start_seconds:.1f} s of start-up"
        )
        for name, bound in (("flow", alone["flow"]), ("all stages", sum(alone.values()))):
            ratio = work / bound * arguments.workers
            print(f"ratio to {name} ÷ {arguments.workers}:        {ratio:8.2f}")
        spent = ", ".join(f"{name} {s:.1f} s" for name, s in asdict(summary.seconds).items() if s)
        print(f"where the workers' time went: {spent}")
        for width, height, frames in ((64, 64, 500), (64, 64, 8000), (3840, 2160, 4)):
            measure_memory(folder, width, height, frames)
        usual = time_script(clips[0], folder, arguments.frames)
        print(f"usual script (cv2, 1 process):           {usual:7.2f} pairs/s")
        print(f"extract ÷ usual script:       {pairs / work / usual:8.1f} ×")


if __name__ == "__main__":
    main()
