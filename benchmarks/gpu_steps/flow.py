"""Steps about TV-L1 on the GPU: the machine, agreement, speed, launches, accuracy.

They need torch, Triton, Numba, NumPy and OpenCV, and nothing of the pack but its frames.
"""

import os
import platform
import subprocess
import time
from dataclasses import replace

import cv2
import numba
import numpy as np
import torch
import triton
from flow_cuda import (
    BYTES,
    INSTRUCTIONS,
    compare_with_numba,
    inspect_gpu,
    measure_batch,
    measure_errors,
    measure_others,
    read_sequence,
)

from flowkit.errors import FlowError
from flowkit.flow import BACKENDS, PRESETS, TVL1Params, tvl1, tvl1_video_quantized
from gpu_steps.frames import Pair, read_pairs_of_size, shrink_pairs
from gpu_steps.plan import Scale
from gpu_steps.recorder import Recorder

TINY_SIDE = 16


def require_gpu() -> None:
    """Raise FlowError, with one line, where the Triton backend cannot run."""
    obstacle = BACKENDS["triton"].find_obstacle()
    if obstacle is not None:
        raise FlowError(obstacle)


def list_presets(scale: Scale) -> dict[str, TVL1Params]:
    """Return all presets; for a rehearsal each with as little work as it can have."""
    if not scale.rehearsal:
        return dict(PRESETS)
    return {
        name: replace(params, scales=1, warps=1, iterations=1) for name, params in PRESETS.items()
    }


def load_pairs(scale: Scale, width: int, height: int, count: int) -> list[Pair]:
    """Read pairs of the pack; for a rehearsal, shrunk."""
    pairs = read_pairs_of_size(scale.data, width, height, count)
    return shrink_pairs(pairs, TINY_SIDE) if scale.rehearsal else pairs


def read_clocks() -> str:
    """Ask the driver for the current clocks, power and temperature, in one line."""
    query = "clocks.sm,clocks.mem,power.draw,power.limit,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi does not answer ({type(error).__name__})"
    return answer.stdout.strip().splitlines()[0]


def measure_machine(scale: Scale, recorder: Recorder) -> None:
    """Record versions, the GPU, and how long the kernels take to compile."""
    require_gpu()
    gpu = inspect_gpu()
    versions = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "Triton": triton.__version__,
        "Numba": numba.__version__,
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
        "CUDA": str(torch.version.cuda),
    }
    begin = time.perf_counter()
    for width, height in scale.sizes:
        # Triton compiles anew for numbers that are 1 or multiples of 16: take the real sizes.
        side = (TINY_SIDE, TINY_SIDE) if scale.rehearsal else (height, width)
        frames = np.zeros((2, *side), np.uint8)
        for params in list_presets(scale).values():
            tvl1(frames[:1], frames[1:], params, "triton")
            tvl1_video_quantized(frames, params, backend="triton")
    compiled = time.perf_counter() - begin
    recorder.add(
        "machine",
        gpu=gpu.name,
        multiprocessors=gpu.multiprocessors,
        memory_gib=gpu.memory_gib,
        copy_tb=gpu.copy_bytes / 1e12,
        clock_ghz=gpu.clock_ghz,
        driver=gpu.driver,
        cores=len(os.sched_getaffinity(0)),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        compile_seconds=compiled,
        clocks="" if scale.rehearsal else read_clocks(),
    )


def measure_agreement(scale: Scale, recorder: Recorder) -> None:
    """Compare the flow of real pairs with Numba's, for each preset and size."""
    require_gpu()
    for width, height in scale.sizes:
        pairs = load_pairs(scale, width, height, scale.agreement_pairs)
        for preset, params in list_presets(scale).items():
            with recorder.attempt(f"{preset} at {width}×{height}"):
                found = compare_with_numba(pairs, params)
                recorder.add(
                    "agreement",
                    size=f"{width}×{height}",
                    preset=preset,
                    pairs=len(pairs),
                    mean_distance=found.mean_distance,
                    worst_distance=found.worst_distance,
                    same_twice="yes" if found.same_twice else "NO",
                    same_in_any_batch="yes" if found.same_in_any_batch else "NO",
                )


def measure_speed(scale: Scale, recorder: Recorder) -> None:
    """Time batches of each size, the largest first, beside what was counted from the kernels."""
    from kernels import measure_share  # the counted bound: instructions and useful share

    require_gpu()
    gpu = inspect_gpu()
    for batch in scale.batches:
        for width, height in scale.sizes:
            pairs = load_pairs(scale, width, height, batch)
            for preset, params in list_presets(scale).items():
                with recorder.attempt(f"{preset} at {width}×{height}, batch {batch}"):
                    rates = measure_batch(
                        pairs, batch, params, scale.repeat, scale.thread_runs, scale.batch_seconds
                    )
                    share = measure_share(height, width, preset)
                    issued = gpu.issue_rate * 32 / INSTRUCTIONS * share
                    recorder.add(
                        "speed",
                        gpu=gpu.name,
                        size=f"{width}×{height}",
                        preset=preset,
                        batch=batch,
                        one_stream=rates.alone,
                        two_streams=rates.two_threads,
                        work=rates.work / 1e6,
                        iterations=rates.iterations / 1e9,
                        bound=min(issued, gpu.copy_bytes / BYTES) / 1e9,
                        clocks="" if scale.rehearsal else read_clocks(),
                    )


def measure_structure(scale: Scale, recorder: Recorder) -> None:
    """Time one pair at a time with two launches an iteration, as OpenCV's class does."""
    require_gpu()
    presets = list_presets(scale)
    for width, height in scale.sizes:
        pairs = load_pairs(scale, width, height, scale.structure_pairs)
        with recorder.attempt(f"launches at {width}×{height}"):
            batch = max(scale.batches)
            ours = measure_batch(
                load_pairs(scale, width, height, batch), batch, presets["paper"], scale.repeat,
                scale.thread_runs, scale.batch_seconds,
            )  # fmt: skip
            found = measure_others(pairs, presets["paper"], 1)
            opencv = found.opencv_cuda
            recorder.add(
                "structure",
                size=f"{width}×{height}",
                ours=ours.best,
                launches=found.launches,
                ratio=ours.best / found.launches,
                distance=found.distance,
                opencv_cuda=opencv,
                opencv_ratio=ours.best / opencv if opencv else None,
                obstacle=found.obstacle,
            )


def measure_accuracy(scale: Scale, recorder: Recorder) -> None:
    """Compare with the true flow of Middlebury, or of rendered frames."""
    require_gpu()
    folder = scale.data / "middlebury"
    sequences = sorted(path.parent for path in folder.glob("*/flow10.flo"))
    if not sequences:
        raise FileNotFoundError(f"the pack has no sequences with known flow in {folder}")
    for sequence in sequences[: 1 if scale.rehearsal else None]:
        frames, truth = read_sequence(sequence)
        if scale.rehearsal:
            frames = [frame[:TINY_SIDE, :TINY_SIDE] for frame in frames]
            truth = truth[:TINY_SIDE, :TINY_SIDE]
        for preset, params in list_presets(scale).items():
            with recorder.attempt(f"{preset} on {sequence.name}"):
                errors = measure_errors(frames, truth, params)
                recorder.add(
                    "accuracy",
                    sequence=sequence.name,
                    preset=preset,
                    numba=errors[0],
                    triton=errors[1],
                    ratio=errors[1] / errors[0],
                )
