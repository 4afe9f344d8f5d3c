"""End-to-end extraction on GPUs against flow alone, and what bounds it.

Run as `python benchmarks/extract.py --device cuda`. Each stage is also run alone on all cores,
as many threads as the engine has lanes: the slowest of them is the most that extraction can do.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from rich.console import Console

from flowkit.annotations import Located, Source
from flowkit.decode import read_video
from flowkit.extract import Options, extract
from flowkit.flow import tvl1_video_quantized
from flowkit.flow.backends import count_gpus
from flowkit.recipe import Recipe
from flowkit.store.jpeg import encode_grey, encode_rgb

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


def measure(clips: list[Path], copies: int, folder: Path, recipe: Recipe, backend: str) -> None:
    """Flow alone, each other stage alone, and all of it together."""
    lanes = max(1, len(os.sched_getaffinity(0)) // max(1, count_gpus()))
    cv2.setNumThreads(1)
    frames = [read_video(clip, recipe.resize) for clip in clips]
    greys = [np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in clip]) for clip in frames]
    pairs = copies * sum(len(clip) - 1 for clip in frames)
    print(f"{len(clips)} clips, {copies} times each: {pairs} pairs; {lanes} lanes a GPU")

    def solve(clip: np.ndarray) -> None:
        for start in range(0, len(clip) - 1, CHUNK):
            tvl1_video_quantized(
                clip[start : start + CHUNK + 1], recipe.flow.tvl1, recipe.flow.bound, backend
            )

    def encode(clip: list[np.ndarray], grey: np.ndarray) -> None:
        # Grey frames stand in for flow: somewhat more to encode than most fields.
        for frame, field in zip(clip, grey, strict=True):
            encode_rgb(frame, recipe.rgb.quality, recipe.rgb.subsampling)
            encode_grey(field, recipe.flow.quality)
            encode_grey(field, recipe.flow.quality)

    stages = {
        "decode": [lambda c=clip: read_video(c, recipe.resize) for clip in clips],
        "encode": [lambda c=c, g=g: encode(c, g) for c, g in zip(frames, greys, strict=True)],
        "flow": [lambda c=clip: solve(c) for clip in greys],
    }
    rates = {
        name: measure_stage(pairs, copies * jobs, lanes, warm_up=name == "flow")
        for name, jobs in stages.items()
    }
    for name, rate in rates.items():
        print(f"{name + ' alone:':16} {rate:10,.0f} pairs/s")
    sources = tuple(Source(f"{clip.name} {copy}", clip) for clip in clips for copy in range(copies))
    summary = extract(
        Located(sources), folder / "store", recipe, Options(backend=backend),
        console=Console(quiet=True),
    )  # fmt: skip
    rate = summary.pairs_per_second
    print(f"{'extract:':16} {rate:10,.0f} pairs/s, after {summary.start_seconds:.1f} s of start-up")
    print(
        f"extract ÷ flow alone: {rate / (max(1, count_gpus()) * rates['flow']):.2f} (bar: ≥ 0.80)"
    )
    slowest = min(rates, key=lambda name: rates[name])
    print(f"the stage that bounds it: {slowest}, {rates[slowest]:,.0f} pairs/s alone")
    if summary.gpu is not None:
        print(f"GPU: {summary.gpu.describe()}")
