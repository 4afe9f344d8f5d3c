"""End-to-end extraction on GPUs against flow alone, and what bounds it.

Run as `python benchmarks/extract.py --device cuda`. Each stage is also run alone on all cores,
as many threads as the engine has lanes: the slowest of them is the most that extraction can do.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from rich.console import Console

from flowkit.annotations import LocatedVideos, Source
from flowkit.decode import read_video
from flowkit.errors import FlowkitError
from flowkit.extraction import Options, extract
from flowkit.flow import tvl1_video_quantized
from flowkit.flow.backends import count_gpus
from flowkit.recipe import StoreRecipe
from flowkit.store.format.jpeg import encode_grey, encode_rgb

CHUNK = 64


def measure_stage(
    pairs: int, jobs: list[Callable[[], object]], lanes: int, warm_up: bool = False
) -> float:
    """Pairs per second of the jobs, each of one clip, on that many threads."""
    with ThreadPoolExecutor(lanes) as threads:
        if warm_up:
            jobs[0]()
        begin = perf_counter()
        list(threads.map(lambda job: job(), jobs))
        return pairs / (perf_counter() - begin)


@dataclass(frozen=True)
class ExtractionRates:
    """Pairs per second of a whole extraction, and of each of its stages alone."""

    lanes: int
    pairs: int
    stages: dict[str, float]
    """Of ``flow``, ``decode`` and ``encode`` alone, on as many threads as there are lanes."""

    extraction: float
    start_seconds: float
    gpu: str
    """What the GPU was busy with, and what it waited for."""

    @property
    def ratio(self) -> float:
        """Extraction ÷ flow alone."""
        return self.extraction / self.stages["flow"]

    @property
    def slowest(self) -> str:
        """The stage that bounds the extraction."""
        return min(self.stages, key=lambda name: self.stages[name])


def measure_extraction(
    clips: list[Path], copies: int, folder: Path, recipe: StoreRecipe, options: Options
) -> ExtractionRates:
    """Time flow alone, all of it together, and each other stage alone, in this order."""
    lanes = max(1, len(os.sched_getaffinity(0)) // max(1, count_gpus()))
    cv2.setNumThreads(1)
    frames = [read_video(clip, recipe.resize) for clip in clips]
    greys = [np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in clip]) for clip in frames]
    pairs = copies * sum(len(clip) - 1 for clip in frames)

    def solve(clip: np.ndarray) -> None:
        for start in range(0, len(clip) - 1, CHUNK):
            tvl1_video_quantized(
                clip[start : start + CHUNK + 1], recipe.flow.tvl1, recipe.flow.bound,
                options.backend,
            )  # fmt: skip

    def encode(clip: list[np.ndarray], grey: np.ndarray) -> None:
        # Grey frames stand in for flow: somewhat more to encode than most fields.
        for frame, field in zip(clip, grey, strict=True):
            encode_rgb(frame, recipe.rgb.quality, recipe.rgb.subsampling)
            encode_grey(field, recipe.flow.quality)
            encode_grey(field, recipe.flow.quality)

    jobs = {
        "flow": [lambda c=clip: solve(c) for clip in greys],
        "decode": [lambda c=clip: read_video(c, recipe.resize) for clip in clips],
        "encode": [lambda c=c, g=g: encode(c, g) for c, g in zip(frames, greys, strict=True)],
    }
    stages = {"flow": measure_stage(pairs, copies * jobs["flow"], lanes, warm_up=True)}
    sources = tuple(Source(f"{clip.name} {copy}", clip) for clip in clips for copy in range(copies))
    quiet = Console(quiet=True)
    summary = extract(LocatedVideos(sources), folder / "store", recipe, options, console=quiet)
    if summary.extracted != len(sources):
        reason = summary.failed[0].reason if summary.failed else "it was interrupted"
        raise FlowkitError(
            f"{len(sources) - summary.extracted} videos were not extracted: {reason}"
        )
    stages |= {
        name: measure_stage(pairs, copies * jobs[name], lanes) for name in ("decode", "encode")
    }
    gpu = summary.gpu.describe() if summary.gpu is not None else ""
    return ExtractionRates(
        lanes, pairs, stages, summary.pairs_per_second, summary.start_seconds, gpu
    )


def measure(
    clips: list[Path], copies: int, folder: Path, recipe: StoreRecipe, backend: str
) -> None:
    """Print flow alone, each other stage alone, and all of it together."""
    found = measure_extraction(clips, copies, folder, recipe, Options(backend=backend))
    print(
        f"{len(clips)} clips, {copies} times each: {found.pairs} pairs; {found.lanes} lanes a GPU"
    )
    for name, rate in found.stages.items():
        print(f"{name + ' alone:':16} {rate:10,.0f} pairs/s")
    print(
        f"{'extract:':16} {found.extraction:10,.0f} pairs/s, after {found.start_seconds:.1f} s of "
        "start-up"
    )
    print(f"extract ÷ flow alone: {found.ratio / max(1, count_gpus()):.2f} (bar: ≥ 0.80)")
    print(f"the stage that bounds it: {found.slowest}, {found.stages[found.slowest]:,.0f} pairs/s")
    if found.gpu:
        print(f"GPU: {found.gpu}")
