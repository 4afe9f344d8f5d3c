"""Draw the salient positions of pyramid attention: Du et al. 2018, Figs. 4 and 5.

K is the number of frames of a video that the network sees. Attention combines their feature maps
into one *attended map* M′. A row m of the weights A (equation 3) belongs to one place of M′ and has
a weight for every position of all K frames. §4.4 calls a position *salient* for the place m if its
weight in this row exceeds a threshold:

    Fig. 4   the place is fixed (w_m = h_m = 1, the first one); all frames; threshold 0.5
    Fig. 5   the frame is fixed (k_j = 1, the first one); all places; threshold 0.7

The threshold belongs to the place, not to the frame: a frame to which the place attends less than
to others has fewer salient positions, or none.

Deviations. The paper applies the thresholds to the weights themselves. Their rows have norm 1, so
at most three weights of a row can exceed 0.5, and two 0.7; with equal weights over K frames none
does. Its figures show many more. Here the threshold is a fraction of the largest weight of the row,
over all frames. Fig. 5 shows all places of the map; here it is five, evenly spaced. The paper
trained a network for each of 1, 2 and 3 scales; here they are the top levels of one pyramid.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from models.networks.pyramid import PyramidNetwork
from train.recipe.recipe import ImageRecipe
from train.report.figures.attention import choose_videos
from train.report.figures.drawing import (
    Drawing,
    NotApplicable,
    Source,
    draw_image,
    make_grid,
    shorten_id,
    write_beside,
)
from train.runs.phases import Phase
from train.tasks.backbones import describe_input
from train.tasks.networks import get_image_recipe, load_phase_network
from train.tasks.samples import list_network_streams, make_dataset, prepare_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 5
"""Frames of a video, and positions of a map, that are shown."""
FRAMES_THRESHOLD = 0.5
"""Fraction of the largest weight of a place above which a position is salient, in Fig. 4."""
POSITIONS_THRESHOLD = 0.7
"""The same fraction in Fig. 5."""
SCALES = (("#0072b2", "o", 7.5), ("#009e73", "s", 5.5), ("#d55e00", "^", 4.0))
"""Colour, marker and its size in points of 1, 2 and 3 scales. Blue, green and red are the paper's;
these are told apart by people who are colour-blind."""
F32 = npt.NDArray[np.float32]
Style = tuple[str, str, float]
Cell = tuple[npt.NDArray[np.uint8], list[tuple[F32, float, Style]]]
"""An image (H, W, 3), and for each number of scales the weights (h, w), the threshold above which
they are marked, and the style of the marks."""


def draw_receptive(source: Source) -> list[Drawing]:
    """Draw salient positions in several frames (Fig. 4) and for positions of the map (Fig. 5).

    Args:
        source: The run, its store, and the videos to show.

    Returns:
        Two figures for each branch of the first split, or of the named phase.

    Raises:
        NotApplicable: There is no store, or no pyramid attention.
        UsageError: The run has no such phase, or a named video is not in the subset.
    """
    check_pyramid(source)
    phases = source.list_phases()
    first_split = [phase for phase in phases if phase.split == phases[0].split]
    return [drawing for phase in first_split for drawing in draw_branch(source, phase)]


def check_pyramid(source: Source) -> None:
    """Check that a run has pyramid attention, and that there is a store.

    Raises:
        NotApplicable: One of them is missing.
    """
    recipe = source.run.recipe
    if not isinstance(recipe, ImageRecipe) or recipe.network.pyramid is None:
        raise NotApplicable(f"the network of {source.run.path} has no pyramid attention")
    if source.store is None:
        raise NotApplicable("the frames of videos are needed; give --store STORE")


def draw_branch(source: Source, phase: Phase) -> list[Drawing]:
    """Draw both figures of salient positions for one branch.

    Args:
        source: The run, its store, and the videos to show.
        phase: Phase that trains the branch.

    Returns:
        The two figures.
    """
    assert source.store is not None
    recipe = get_image_recipe(source.run).for_split(phase.split)
    shown_recipe = replace(recipe, data=replace(recipe.data, num_segments=SHOWN))
    dataset = make_dataset(shown_recipe, source.store, list_network_streams(phase), "validate")
    chosen = choose_videos(source, [int(row) for row in dataset.subset.rows])
    network = getattr(load_phase_network(source.run, phase, phase.stream), phase.branch)
    videos, names = [], []
    for index in chosen:
        inputs = dataset[0, index][phase.branch]
        images = [draw_image(image, source.store.bound) for image in inputs]
        names.append(shorten_id(source.store.index.id(int(dataset.subset.rows[index])), 24))
        videos.append((images, compute_weights(network, shown_recipe, phase, inputs)))
    height, width = network.attention.size
    places = np.unique(np.linspace(0, height * width - 1, SHOWN).round().astype(int))
    over_frames, over_places = [], []
    for images, maps in videos:
        limits = find_thresholds(maps, 0, FRAMES_THRESHOLD)
        over_frames.append([
            (image, [(m[0, k], *rest) for m, *rest in zip(maps, limits, SCALES, strict=False)])
            for k, image in enumerate(images)
        ])  # fmt: skip
        last, style = maps[-1], SCALES[len(maps) - 1]
        over_places.append([
            (images[0], [(last[m, 0], *find_thresholds([last], m, POSITIONS_THRESHOLD), style)])
            for m in places.tolist()
        ])  # fmt: skip
    scales = ", ".join(
        ("1 scale: blue circles", "2 scales: green squares", "3 scales: orange triangles")[
            : len(network.taps)
        ]
    )
    titles = [[f"frame {k + 1}" for k in range(SHOWN)], [f"place {place}" for place in places]]
    return [
        Drawing(
            name=f"salient_frames_{phase.branch}",
            caption=f"Positions in {SHOWN} frames whose weight for the first place of the attended "
            f"map is above {FRAMES_THRESHOLD} of the largest one ({phase.name}). {scales}; these "
            "are the top levels of the run's own pyramid.",
            figure=draw_rows(over_frames, titles[0], names),
        ),
        Drawing(
            name=f"salient_places_{phase.branch}",
            caption=f"Positions in the first of {SHOWN} frames whose weight for a place of the "
            f"attended map is above {POSITIONS_THRESHOLD} of the place's largest one in all frames "
            f"({phase.name}; the {height}×{width} places are counted row by row). A picture "
            "without marks: the place attends more to other frames.",
            figure=draw_rows(over_places, titles[1], names),
        ),
    ]


def compute_weights(
    network: PyramidNetwork, recipe: ImageRecipe, phase: Phase, images: torch.Tensor
) -> list[F32]:
    """Compute the attention weights A of equation 3 for one video.

    Args:
        network: Pyramid network of the branch.
        recipe: Recipe with `SHOWN` segments.
        phase: Phase that trains the branch.
        images: (K, C, H, W) uint8 images.

    Returns:
        The weights of the top 1, 2, … levels, three at most, each (D, K, H, W) for D positions of
        the map.
    """
    inputs = describe_input(recipe, SHOWN)
    batch: dict[Any, torch.Tensor] = {phase.branch: images[None]}
    prepared = prepare_images(batch, (phase.stream,), torch.device("cpu"), inputs)
    with torch.no_grad():
        levels, _ = network.extract_levels(prepared[phase.branch])
        counts = range(1, min(len(levels), len(SCALES)) + 1)
        return [network.attention.attention(levels, SHOWN, n)[0].numpy() for n in counts]


def find_thresholds(maps: list[F32], place: int, fraction: float) -> list[float]:
    """Find the weight above which a position is salient for a place of the attended map.

    Args:
        maps: For each number of scales, the weights (D, K, H, W).
        place: The place, an index below D.
        fraction: The threshold as a fraction of the largest weight of the place in all K frames.

    Returns:
        The threshold for each number of scales.
    """
    return [fraction * float(weights[place].max()) for weights in maps]


def draw_rows(rows: list[list[Cell]], titles: list[str], names: list[str]) -> "Figure":
    """Draw images with marks at salient positions, a colour for each number of scales.

    Args:
        rows: The cells of each row.
        titles: Titles of the columns.
        names: Names of the rows.

    Returns:
        The figure.
    """
    figure, axes = make_grid(len(rows), len(rows[0]))
    for cell_axes, title in zip(axes[0], titles, strict=True):
        cell_axes.set_title(title, fontsize=7)
    for row_axes, cells, name in zip(axes, rows, names, strict=True):
        write_beside(row_axes[0], name)
        for cell_axes, (image, marked) in zip(row_axes, cells, strict=True):
            cell_axes.imshow(image)
            for weights, threshold, style in marked:
                mark_salient(cell_axes, image.shape[:2], weights, threshold, style)
    return figure


def mark_salient(
    axes: Any,
    size: tuple[int, ...],
    weights: F32,
    threshold: float,
    style: Style,
) -> None:
    """Draw marks at the salient positions of one frame.

    Args:
        axes: Axes that show the image.
        size: Height and width of the image in pixels.
        weights: (H, W) weights.
        threshold: The weight above which a position is salient, from `find_thresholds`: one for all
            frames of a place.
        style: Colour, marker and its size in points.
    """
    rows, columns = np.nonzero(weights > threshold)
    step_y, step_x = size[0] / weights.shape[0], size[1] / weights.shape[1]
    colour, marker, points = style
    axes.plot(
        (columns + 0.5) * step_x, (rows + 0.5) * step_y, marker, color=colour, ms=points,
        mec="white", mew=0.4, ls="none",
    )  # fmt: skip
