"""The step about `flowkit extract` on the GPU, without Ray: lanes are threads of one process."""

import tempfile
from dataclasses import replace
from pathlib import Path

from extract_cuda import measure_extraction

from flowkit.errors import VideoError
from flowkit.extraction import Options
from flowkit.flow import PRESETS
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from gpu_steps.flow import TINY_SIDE, list_presets, require_gpu
from gpu_steps.plan import Scale
from gpu_steps.recorder import Recorder


def measure(scale: Scale, recorder: Recorder) -> None:
    """Extract all clips of the pack several times, beside each stage alone."""
    require_gpu()
    clips = sorted(path for path in (scale.data / "clips").iterdir() if path.is_file())
    if not clips:
        raise VideoError("empty", f"the pack has no clips in {scale.data / 'clips'}")
    options = Options(workers=0, backend="triton")
    presets, resize = ["paper", *(["fast"] if "fast" in PRESETS else [])], StoreRecipe().resize
    if scale.rehearsal:
        clips = sorted(clips, key=lambda clip: clip.stat().st_size)[:1]
        presets, resize = presets[:1], Resize(width=TINY_SIDE, height=TINY_SIDE)
        options = replace(options, lanes=2)
    for preset in presets:
        flow = FlowRecipe(tvl1=list_presets(scale)[preset])
        recipe = StoreRecipe(resize=resize, rgb=RGBRecipe(), flow=flow)
        with recorder.attempt(preset), tempfile.TemporaryDirectory() as folder:
            found = measure_extraction(clips, scale.copies, Path(folder), recipe, options)
            recorder.add(
                "extraction",
                preset=preset,
                pairs=found.pairs,
                lanes=found.lanes,
                flow=found.stages["flow"],
                decode=found.stages["decode"],
                encode=found.stages["encode"],
                extraction=found.extraction,
                ratio=found.ratio,
                bounded_by=found.slowest,
                waited=found.gpu,
            )
