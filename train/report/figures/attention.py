"""Attention maps with arrows: Fig. 5, 6 and 7 of Chi et al. 2019.

For a few videos and query points: the RGB frame, the colour-coded flow, and where the last
block of res4 looks from each point, CMA beside non-local where the network has both. Arrows
lead from the query to the positions of most weight, the fainter the less.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from flowkit.flow.color import flow_to_color
from models.networks.two_stream import TwoStream
from train.recipe.recipe import ImageRecipe, of_split
from train.report.figures.drawing import Drawing, Source, make_figure
from train.runs.phases import Phase, list_phases
from train.runs.run import RunError
from train.tasks.backbones import Inputs, find_inputs
from train.tasks.networks import finished_network
from train.tasks.samples import make_dataset, needed_streams, prepare_images

VIDEOS, ARROWS = 4, 5


def draw_attention(source: Source) -> list[Drawing]:
    """A row for each video; nothing without a store or without attention blocks."""
    phase, whole = choose_phase(source), source.run.recipe
    if source.store is None or phase is None or not isinstance(whole, ImageRecipe):
        return []
    network = finished_network(source.run, phase, phase.stream)
    blocks = choose_blocks(network, phase.branch)
    recipe = of_split(whole, phase.split)
    dataset = make_dataset(recipe, source.store, ("rgb", "flow"), "validate")
    rows = [int(row) for row in dataset.subset.rows]
    chosen = choose_videos(source, rows)
    columns = 2 + len(blocks) * len(source.points)
    figure, axes = make_figure(1.7 * columns, 1.8 * len(chosen), nrows=len(chosen), ncols=columns,
                               squeeze=False)  # fmt: skip
    for line, index in zip(axes, chosen, strict=True):
        sample = dataset[0, index]
        middle = recipe.data.num_segments // 2
        rgb, flow = show_snippet(sample, middle, source.store.bound)
        maps = compute_maps(network, sample, middle, phase, blocks, find_inputs(recipe, 1))
        line[0].imshow(rgb)
        line[0].set_title(source.store.index.id(rows[index])[-28:], fontsize=6)
        line[1].imshow(flow)
        cells = [(name, point) for name in blocks for point in source.points]
        for cell, (name, point) in zip(line[2:], cells, strict=True):
            draw_map(cell, rgb, *maps[name], point)
            cell.set_title(name, fontsize=6)
        for cell in line:
            cell.set_axis_off()
    caption = (
        f"Where the last attention block of res4 looks ({phase.name}): frame, flow, and the map "
        "of each query point with arrows to the heaviest positions."
    )
    return [Drawing(name="attention", caption=caption, figure=figure)]


def choose_phase(source: Source) -> Phase | None:
    """The last phase with attention that trains RGB; None where there is none."""
    recipe = source.run.recipe
    if not isinstance(recipe, ImageRecipe):
        return None
    phases = [p for p in list_phases(recipe) if not p.uniform]
    found = [p for p in phases if p.cma and p.branch == "rgb"]
    found = found or [p for p in phases if p.branch in recipe.network.non_local]
    return found[-1] if found else None


def choose_blocks(network: TwoStream, branch: str) -> dict[str, Any]:
    """The deepest block of each kind that changes a branch, by the name of its kind."""
    kinds = {"CMA": getattr(network, f"to_{branch}"),
             "non-local": getattr(network, f"non_local_{branch}")}  # fmt: skip
    return {kind: list(blocks.values())[-1] for kind, blocks in kinds.items() if len(blocks)}


def choose_videos(source: Source, rows: list[int]) -> list[int]:
    """Indices in the dataset: of the ids that were asked for, or a few of different classes."""
    assert source.store is not None
    if source.videos:
        wanted = [source.store.find(id) for id in source.videos]
        lacking = [id for id, row in zip(source.videos, wanted, strict=True) if row not in rows]
        if lacking:
            raise RunError(f"{', '.join(lacking)}: not in the subset that the run validates on")
        return [rows.index(row) for row in wanted if row is not None]
    spread = np.linspace(0, len(rows) - 1, min(VIDEOS, len(rows)))
    return sorted({int(place) for place in spread})


def show_snippet(
    sample: dict[str, torch.Tensor], k: int, bound: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The RGB frame (H, W, 3), and its first flow field in colours."""
    rgb = sample["rgb"][k].permute(1, 2, 0).numpy()
    field = (sample["flow"][k, :2].permute(1, 2, 0).numpy().astype(np.float32) - 128) / 127 * bound
    return rgb, flow_to_color(field)


def compute_maps(
    network: TwoStream,
    sample: dict[str, torch.Tensor],
    k: int,
    phase: Phase,
    blocks: dict[str, Any],
    inputs: Inputs,
) -> dict[str, tuple[npt.NDArray[np.float32], tuple[int, int], tuple[int, int]]]:
    """By kind of block: the map (N, M), and the sizes (h, w) that N and M unfold to."""
    seen: dict[str, tuple[torch.Tensor, ...]] = {}
    hooks = [
        block.register_forward_pre_hook(lambda _, inputs, kind=kind: seen.update({kind: inputs}))
        for kind, block in blocks.items()
    ]
    streams = needed_streams(phase)
    batch: dict[str, torch.Tensor] = {stream: sample[stream][None, k : k + 1] for stream in streams}
    maps = {}
    with torch.no_grad():
        network(**prepare_images(batch, streams, torch.device("cpu"), inputs))
        for kind, block in blocks.items():
            x, y = seen[kind][0], seen[kind][-1]
            sizes = tuple(x.shape[2:]), block.pooled_size(y)
            maps[kind] = (block.attention(x, y)[0].numpy(), *sizes)
    for hook in hooks:
        hook.remove()
    return maps


def draw_map(
    axes: Any,
    rgb: npt.NDArray[np.uint8],
    weights: npt.NDArray[np.float32],
    size: tuple[int, int],
    pooled: tuple[int, int],
    point: tuple[float, float],
) -> None:
    """The frame under the map of one query, with arrows to where it looks most."""
    height, width = rgb.shape[:2]
    column, row = (min(int(share * n), n - 1) for share, n in zip(point, size[::-1], strict=True))
    looks = weights[row * size[1] + column].reshape(pooled)
    shown = cv2.resize(looks, (width, height), interpolation=cv2.INTER_LINEAR)
    axes.imshow(rgb)
    axes.imshow(shown, cmap="inferno", alpha=0.55)
    start = ((column + 0.5) * width / size[1], (row + 0.5) * height / size[0])
    for place in np.argsort(-looks, axis=None)[:ARROWS]:
        y, x = np.unravel_index(place, pooled)
        end = ((x + 0.5) * width / pooled[1], (y + 0.5) * height / pooled[0])
        share = max(0.1, float(looks[y, x] / looks.max()))
        arrow = {"arrowstyle": "->", "color": "#7CFC00", "lw": 1.2, "alpha": share}
        axes.annotate("", end, start, arrowprops=arrow)
    axes.plot(*start, "o", color="white", ms=3)
