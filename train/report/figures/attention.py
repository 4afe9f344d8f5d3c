"""Draw attention maps with arrows: Fig. 5, 6 and 7 of Chi et al. 2019.

For a few videos, the figure shows the RGB frame, the colour-coded flow, and the attention map of
the last block of res4 for each query point. If the network has CMA (cross-modality attention) and
non-local blocks, both are shown. Arrows lead from the query to the positions of highest weight; the
arrows of lower weights are fainter.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from flowkit.errors import UsageError
from models.networks.two_stream import TwoStream
from train.recipe.recipe import ImageRecipe
from train.report.figures.drawing import Drawing, Source, draw_image, make_grid
from train.runs.phases import Phase, list_phases
from train.tasks.backbones import InputDescription, describe_input
from train.tasks.networks import load_phase_network
from train.tasks.samples import list_network_streams, make_dataset, prepare_images

VIDEOS = 4
"""Number of videos, if none are named."""
ARROWS = 5
"""Number of arrows in a map."""


def draw_attention(source: Source) -> list[Drawing]:
    """Draw attention maps, a row for each video.

    Args:
        source: The run, its store, and the videos and query points to show.

    Returns:
        A figure, in a list; an empty list without a store or attention blocks.
    """
    phase, run_recipe = choose_phase(source), source.run.recipe
    if source.store is None or phase is None or not isinstance(run_recipe, ImageRecipe):
        return []
    network = load_phase_network(source.run, phase, phase.stream)
    blocks = choose_blocks(network, phase.branch)
    recipe = run_recipe.for_split(phase.split)
    dataset = make_dataset(recipe, source.store, ("rgb", "flow"), "validate")
    rows = [int(row) for row in dataset.subset.rows]
    chosen = choose_videos(source, rows)
    columns = 2 + len(blocks) * len(source.points)
    figure, axes = make_grid(len(chosen), columns)
    for row_axes, index in zip(axes, chosen, strict=True):
        sample = dataset[0, index]
        middle = recipe.data.num_segments // 2
        rgb, flow = (draw_image(sample[s][middle], source.store.bound) for s in ("rgb", "flow"))
        maps = compute_maps(network, sample, middle, phase, blocks, describe_input(recipe, 1))
        row_axes[0].imshow(rgb)
        row_axes[0].set_title(source.store.index.id(rows[index])[-28:], fontsize=6)
        row_axes[1].imshow(flow)
        cells = [(name, point) for name in blocks for point in source.points]
        for cell_axes, (name, point) in zip(row_axes[2:], cells, strict=True):
            draw_map(cell_axes, rgb, *maps[name], point)
            cell_axes.set_title(name, fontsize=6)
    caption = (
        f"Attention of the last block of res4 ({phase.name}): frame, flow, and the attention map "
        "of each query point, with arrows to the positions of highest weight."
    )
    return [Drawing(name="attention", caption=caption, figure=figure)]


def choose_phase(source: Source) -> Phase | None:
    """Choose the last phase with attention blocks, preferring CMA phases that train the RGB branch.

    Args:
        source: The run.

    Returns:
        The phase; None if no phase has attention.
    """
    recipe = source.run.recipe
    if not isinstance(recipe, ImageRecipe):
        return None
    phases = [phase for phase in list_phases(recipe) if not phase.uniform]
    matches = [phase for phase in phases if phase.cma and phase.branch == "rgb"]
    matches = matches or [phase for phase in phases if phase.branch in recipe.network.non_local]
    return matches[-1] if matches else None


def choose_blocks(network: TwoStream, branch: str) -> dict[str, Any]:
    """Choose the deepest attention block of each kind in a branch.

    Args:
        network: Two-stream network.
        branch: ``rgb`` or ``flow``.

    Returns:
        Blocks by the name of their kind, ``CMA`` or ``non-local``.
    """
    kinds = {"CMA": getattr(network, f"to_{branch}"),
             "non-local": getattr(network, f"non_local_{branch}")}  # fmt: skip
    return {kind: list(blocks.values())[-1] for kind, blocks in kinds.items() if len(blocks)}


def choose_videos(source: Source, rows: list[int]) -> list[int]:
    """Choose the videos of a figure: those that are named, or else a few evenly spaced ones.

    Args:
        source: The store, and the ids of named videos.
        rows: Rows of the dataset's videos in the index of the store.

    Returns:
        Indices of the videos in the dataset.

    Raises:
        UsageError: If a named video is not in the dataset.
    """
    assert source.store is not None
    if source.videos:
        named_rows = [source.store.find(id) for id in source.videos]
        absent = [id for id, row in zip(source.videos, named_rows, strict=True) if row not in rows]
        if absent:
            raise UsageError(f"{', '.join(absent)}: not in the subset that the run validates on")
        return [rows.index(row) for row in named_rows if row is not None]
    evenly_spaced = np.linspace(0, len(rows) - 1, min(VIDEOS, len(rows)))
    return sorted({int(index) for index in evenly_spaced})


def compute_maps(
    network: TwoStream,
    sample: dict[str, torch.Tensor],
    k: int,
    phase: Phase,
    blocks: dict[str, Any],
    inputs: InputDescription,
) -> dict[str, tuple[npt.NDArray[np.float32], tuple[int, int], tuple[int, int]]]:
    """Compute the attention maps of blocks for one snippet.

    Args:
        network: Two-stream network.
        sample: A sample with uint8 images.
        k: Index of the snippet in the sample.
        phase: Phase of the network.
        blocks: Attention blocks by kind.
        inputs: Describes one input of the network.

    Returns:
        For each kind: the map (N, M) of N queries and M keys, and the sizes (h, w) of the grids of
        queries and keys.
    """
    block_inputs: dict[str, tuple[torch.Tensor, ...]] = {}
    hooks = [
        block.register_forward_pre_hook(
            lambda _, inputs, kind=kind: block_inputs.update({kind: inputs})
        )
        for kind, block in blocks.items()
    ]
    streams = list_network_streams(phase)
    batch: dict[str, torch.Tensor] = {stream: sample[stream][None, k : k + 1] for stream in streams}
    maps = {}
    with torch.no_grad():
        network(**prepare_images(batch, streams, torch.device("cpu"), inputs))
        for kind, block in blocks.items():
            x, y = block_inputs[kind][0], block_inputs[kind][-1]
            sizes = tuple(x.shape[2:]), block.pooled_size(y)
            maps[kind] = (block.attention(x, y)[0].numpy(), *sizes)
    for hook in hooks:
        hook.remove()
    return maps


def find_query(size: tuple[int, int], point: tuple[float, float]) -> tuple[int, int]:
    """Find the query of a point of the picture.

    Args:
        size: Height and width of the grid of queries.
        point: The point (x, y), as fractions of width and height.

    Returns:
        Row and column of the query.
    """
    column, row = (
        min(int(fraction * n), n - 1) for fraction, n in zip(point, size[::-1], strict=True)
    )
    return row, column


def list_arrows(attention: npt.NDArray[np.float32]) -> list[tuple[int, int, float]]:
    """List where the arrows of a query lead: to its `ARROWS` highest weights.

    Args:
        attention: (h, w) weights of one query.

    Returns:
        Row, column and opacity (0.1–1) of each, the highest weight first.
    """
    arrows = []
    for key in np.argsort(-attention, axis=None, kind="stable")[:ARROWS]:
        y, x = np.unravel_index(key, attention.shape)
        opacity = max(0.1, float(attention[y, x] / attention.max()))
        arrows.append((int(y), int(x), opacity))
    return arrows


def draw_map(
    axes: Any,
    rgb: npt.NDArray[np.uint8],
    weights: npt.NDArray[np.float32],
    size: tuple[int, int],
    pooled: tuple[int, int],
    point: tuple[float, float],
) -> None:
    """Draw the attention map of one query over the frame, with arrows to the highest weights.

    Args:
        axes: Axes to draw into.
        rgb: (H, W, 3) uint8 frame.
        weights: (N, M) attention map.
        size: Height and width of the grid of queries.
        pooled: Height and width of the grid of keys.
        point: Query point (x, y), as fractions of width and height.
    """
    height, width = rgb.shape[:2]
    row, column = find_query(size, point)
    attention = weights[row * size[1] + column].reshape(pooled)
    overlay = cv2.resize(attention, (width, height), interpolation=cv2.INTER_LINEAR)
    axes.imshow(rgb)
    axes.imshow(overlay, cmap="inferno", alpha=0.55)
    start = ((column + 0.5) * width / size[1], (row + 0.5) * height / size[0])
    for y, x, opacity in list_arrows(attention):
        end = ((x + 0.5) * width / pooled[1], (y + 0.5) * height / pooled[0])
        arrow = {"arrowstyle": "->", "color": "#7CFC00", "lw": 1.2, "alpha": opacity}
        axes.annotate("", end, start, arrowprops=arrow)
    axes.plot(*start, "o", color="white", ms=3)
