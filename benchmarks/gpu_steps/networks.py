"""Steps about networks on the GPU: training steps, attention blocks, feature extraction.

They need torch and the pack's packages, and no Triton.
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch

from flowkit.errors import FlowkitError
from gpu_steps.plan import Scale
from gpu_steps.recorder import Recorder

# Of the recipe kinetics_cma, for a rehearsal on a CPU.
TINY_NETWORK = {
    "classes": "4",
    "data.short_side": "40",
    "data.size": "32",
    "data.num_segments": "2",
    "network.width": "4",
}


def require_cuda(scale: Scale) -> None:
    """Raise FlowkitError where torch sees no GPU and this is no rehearsal."""
    if not scale.rehearsal and not torch.cuda.is_available():
        raise FlowkitError("torch sees no CUDA GPU here, or no driver for it")


def measure_training(scale: Scale, recorder: Recorder) -> None:
    """Time steps of cross-modality attention and plain branches, beside a bare ResNet-50 loop."""
    import training

    from train.recipe.recipe import change_recipe, read_recipe
    from train.runs.run import Settings

    require_cuda(scale)
    changes = {"network.weights": "{}", "iterations": "1"}
    changes |= TINY_NETWORK if scale.rehearsal else {}
    recipe = change_recipe(read_recipe("kinetics_cma"), changes)
    settings = Settings(device=scale.device, precision="bfloat16", threads=torch.get_num_threads())
    with recorder.attempt("training steps"):
        rates, peaks = training.measure_training(
            recipe, settings, scale.train_batch, scale.train_steps, scale.repeat
        )
        both = training.join_rates(rates)
        for name, title in (
            ("iter_1", "CMA, iter_1"), ("rgb", "plain RGB"), ("flow", "plain flow"),
            ("bare", "bare ResNet-50 loop"),
        ):  # fmt: skip
            recorder.add(
                "training",
                network=title,
                images=scale.train_batch * recipe.data.num_segments,
                rate=rates[name],
                peak_mib=peaks.get(name),
            )
        recorder.add(
            "training_ratios", cma=rates["iter_1"] / both, step=rates["rgb"] / rates["bare"]
        )
    blocks = {}
    for kind in ("fused", "materialized"):
        with recorder.attempt(f"{kind} CMA block"):
            size = {"size": (8, 4, 8)} if scale.rehearsal else {}
            blocks[kind] = training.run_block(kind, scale.device, "bfloat16", 4, **size)
    if len(blocks) == 2:
        ratio = blocks["materialized"] / blocks["fused"] if blocks["fused"] else None
        recorder.add("cma_memory", **blocks, ratio=ratio)


def measure_attention(scale: Scale, recorder: Recorder) -> None:
    """Time each attention block beside its equations as printed."""
    import attention

    require_cuda(scale)
    if scale.rehearsal:  # the same blocks, over maps and sets that a CPU does in no time
        attention.LEVELS, attention.FRAMES = ((8, 9), (16, 5), (24, 2)), 3
        attention.RES4, attention.SETS = (64, 6), 2
    for name in attention.TASKS:
        with recorder.attempt(name):
            ours, printed = (
                attention.measure(
                    name, as_printed, scale.attention_batch, scale.device, scale.attention_steps
                )
                for as_printed in (False, True)
            )
            recorder.add(
                "attention",
                block=name,
                ours_ms=ours[0],
                ours_mib=ours[1],
                printed_ms=printed[0],
                printed_mib=printed[1],
                time_ratio=printed[0] / ours[0],
                memory_ratio=printed[1] / ours[1] if ours[1] else None,
            )


def measure_features(scale: Scale, recorder: Recorder) -> None:
    """Time feature extraction of RGB and flow, beside the network alone."""
    import features

    require_cuda(scale)
    if scale.rehearsal:
        torch.set_flush_denormal(True)  # random weights give features that small
        # One thread of torch: several wait for each other by spinning, for minutes where others
        # work on the same cores.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        root = features.write_store(Path(name) / "store", scale.feature_videos)
        for backbone, precision, batch in scale.networks:
            options = argparse.Namespace(
                backbone=backbone, device=scale.device, precision=precision, batch=batch,
                readers=0 if scale.rehearsal else None, size=32 if scale.rehearsal else None,
                positions=4 if scale.rehearsal else 25,
            )  # fmt: skip
            for stream in ("rgb", "flow"):
                with recorder.attempt(f"{backbone}, {stream}"):
                    # Features of one name are of one network.
                    found = features.measure(
                        Path(name), root, stream, options, name=f"{stream}_{backbone}"
                    )
                    recorder.add(
                        "features",
                        network=f"{backbone}, {precision}",
                        batch=batch,
                        readers=found.readers,
                        stream=stream,
                        extraction=found.extraction,
                        alone=found.network,
                        ratio=found.extraction / found.network,
                    )
        with recorder.attempt("feature files"):
            measure_files(scale, recorder, Path(name))


def measure_files(scale: Scale, recorder: Recorder, folder: Path) -> None:
    """Time feature files from end to end: I3D on RGB and flow, straight from the clips."""
    import feature_files

    from flowkit.flow import PRESETS
    from flowkit.recipe import FlowRecipe, Resize, StoreRecipe
    from train.feature_files import FileOptions, FileRequest
    from train.feature_files.windows import WindowSampling

    clips = sorted(path for path in (scale.data / "clips").iterdir() if path.is_file())
    backbone, length, streams, size = "i3d_inception", 16, ("rgb", "flow"), None
    if scale.rehearsal:  # flow is rehearsed by the step about extraction
        clips, backbone, length, streams, size = clips[:1], "resnet18", None, ("rgb",), 32
    for preset in ("paper", "fast")[: len(streams)]:
        flow = FlowRecipe(tvl1=PRESETS[preset]) if "flow" in streams else None
        request = FileRequest(
            out=folder / f"files_{preset}",
            networks=feature_files.make_networks(folder, backbone, length, streams, size),
            windows=WindowSampling(length=length or 1, stride=16),
            frames=StoreRecipe(resize=Resize(mode="short-side", side=256, upsize=True), flow=flow),
            keep_extension=True,
        )
        options = FileOptions(workers=0, device=scale.device)
        summary, _ = feature_files.run(clips, request, options, scale.copies)
        recorder.add(
            "feature_files",
            network=f"{backbone}, {' and '.join(streams)}",
            preset=preset,
            lanes=summary.workers,
            frames=summary.frames,
            rows=summary.rows,
            rate=summary.frames / summary.work_seconds,
            waited=summary.gpu.describe() if summary.gpu is not None else "",
        )
