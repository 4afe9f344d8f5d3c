"""Draw the salient positions of pyramid attention, and accuracy over K: Du et al. 2018, Figs. 3–5.

K is the number of frames of a video that the network sees. An input position is *salient* for a
position of the attention's output map if its weight is more than a
fraction of the largest weight of that map position: 0.5 over frames, 0.7 within a frame. Deviation:
the paper applies the threshold to the weights themselves, whose rows have norm 1, so that with
equal weights over 25 frames none would reach 0.5.

`draw_frames` evaluates the run again for every K. Because this takes long, it is drawn only if it
is named.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.networks.pyramid import PyramidNetwork
from train.evaluation.processes import open_processes
from train.evaluation.scores import choose_metric, measure
from train.evaluation.scoring import score_phases
from train.evaluation.testing import check_test_settings
from train.recipe.recipe import ImageRecipe
from train.report.figures.attention import choose_videos
from train.report.figures.drawing import (
    ACCENTS,
    Drawing,
    Source,
    draw_image,
    make_figure,
    make_grid,
)
from train.runs.phases import Phase, list_phases, list_scorings
from train.runs.run import Run, Settings
from train.tasks.backbones import describe_input
from train.tasks.networks import get_image_recipe, load_phase_network
from train.tasks.samples import list_network_streams, make_dataset, prepare_images

SHOWN = 5
"""Frames of a video, and positions of a map, that are shown."""
FRAMES_THRESHOLD = 0.5
"""Fraction of the largest weight above which a position is salient, over frames."""
POSITIONS_THRESHOLD = 0.7
"""The same fraction, for positions of the map within one frame."""
COUNTS = (1, 5, 10, 15, 20, 25, 30)
"""Values of K in testing."""
SCALES = ("#1f77ff", "#2ca02c", "#d62728")
"""Colours of 1, 2 and 3 scales: blue, green, red."""
F32 = npt.NDArray[np.float32]


def draw_receptive(source: Source) -> list[Drawing]:
    """Draw salient positions in several frames (Fig. 4) and for positions of the map (Fig. 5).

    Args:
        source: The run, its store, and the videos to show.

    Returns:
        Two figures for each branch; an empty list without a store or pyramid attention.
    """
    if source.store is None or not has_pyramid(source.run):
        return []
    phases = list_phases(source.run.recipe)
    first_split = [phase for phase in phases if phase.split == phases[0].split]
    return [drawing for phase in first_split for drawing in draw_branch(source, phase)]


def has_pyramid(run: Run) -> bool:
    """Return whether a run was trained with pyramid attention."""
    return isinstance(run.recipe, ImageRecipe) and run.recipe.network.pyramid is not None


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
    videos = []
    for index in chosen:
        inputs = dataset[0, index][phase.branch]
        images = [draw_image(image, source.store.bound) for image in inputs]
        videos.append((images, compute_weights(network, shown_recipe, phase, inputs)))
    height, width = network.attention.size
    positions = np.unique(np.linspace(0, height * width - 1, SHOWN).round().astype(int))
    over_frames = [
        [(image, [m[0, k] for m in maps], FRAMES_THRESHOLD) for k, image in enumerate(images)]
        for images, maps in videos
    ]
    over_positions = [
        [(images[0], [maps[-1][position, 0]], POSITIONS_THRESHOLD) for position in positions]
        for images, maps in videos
    ]
    names = ", ".join(("1 scale blue", "2 green", "3 red")[: len(network.taps)])
    return [
        Drawing(
            name=f"salient_frames_{phase.branch}",
            caption=f"Salient positions of {SHOWN} frames for the first position of the map "
            f"({phase.name}; {names}: the top levels of the run's own pyramid).",
            figure=draw_rows(over_frames),
        ),
        Drawing(
            name=f"salient_places_{phase.branch}",
            caption=f"Salient positions of one frame for positions of the map ({phase.name}; "
            f"positions {', '.join(map(str, positions))} of {height}×{width}).",
            figure=draw_rows(over_positions),
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


def draw_rows(rows: list[list[tuple[npt.NDArray[np.uint8], list[F32], float]]]) -> Any:
    """Draw images with dots at salient positions, a colour for each number of scales.

    Args:
        rows: For each cell of each row: the (H, W, 3) image, a weight map for each number of
            scales, and the threshold as a fraction of the largest weight.

    Returns:
        The figure.
    """
    figure, axes = make_grid(len(rows), len(rows[0]))
    for row_axes, cells in zip(axes, rows, strict=True):
        for cell_axes, (image, maps, threshold) in zip(row_axes, cells, strict=True):
            cell_axes.imshow(image)
            colours = SCALES[-1:] if len(maps) == 1 else SCALES
            for colour, weights in zip(colours, maps, strict=False):
                mark_salient(cell_axes, image.shape[:2], weights, threshold, colour)
    return figure


def mark_salient(
    axes: Any, size: tuple[int, ...], weights: F32, threshold: float, colour: str
) -> None:
    """Draw dots at the positions whose weight exceeds a fraction of the largest weight.

    Args:
        axes: Axes that show the image.
        size: Height and width of the image in pixels.
        weights: (H, W) weights.
        threshold: The fraction.
        colour: Colour of the dots.
    """
    rows, columns = find_salient(weights, threshold)
    step_y, step_x = size[0] / weights.shape[0], size[1] / weights.shape[1]
    axes.plot((columns + 0.5) * step_x, (rows + 0.5) * step_y, "o", color=colour, ms=3, alpha=0.7)


def find_salient(
    weights: F32, threshold: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the positions whose weight exceeds a fraction of the largest weight.

    Args:
        weights: (H, W) weights.
        threshold: The fraction.

    Returns:
        The rows and the columns of the positions.
    """
    rows, columns = np.nonzero(weights > threshold * weights.max())
    return rows, columns


def draw_frames(source: Source) -> list[Drawing]:
    """Draw accuracy over K in testing, a line for each run and score (Fig. 3).

    Args:
        source: The run, its store, and a run that was trained with another K.

    Returns:
        A figure and a table; an empty list without a store or pyramid attention.
    """
    if source.store is None or not has_pyramid(source.run):
        return []
    figure, axes = make_figure()
    runs = [source.run, *([source.against] if source.against else [])]
    runs = [run for run in runs if isinstance(run.recipe, ImageRecipe)]
    rows = [["K in training", "score", *map(str, COUNTS)]]
    for run in runs:
        for name, values in measure_accuracies(run, source).items():
            trained = get_image_recipe(run).data.num_segments
            colour = ACCENTS[(len(rows) - 1) % len(ACCENTS)]
            axes.plot(COUNTS, values, "o-", ms=3, color=colour, label=f"K = {trained}, {name}")
            rows.append([str(trained), name, *(f"{value:.1f}" for value in values)])
    _, title = choose_metric(source.run.recipe.labels)
    axes.set(xlabel="K in testing", ylabel=f"{title}, %")
    axes.legend(fontsize=8, frameon=False)
    caption = "Accuracy over the number of frames K that a prediction uses."
    return [
        Drawing(name="frames", caption=caption, figure=figure),
        Drawing(name="frames_table", caption=caption, rows=rows),
    ]


def measure_accuracies(run: Run, source: Source) -> dict[str, list[float]]:
    """Measure the accuracy of a run for each K of `COUNTS`, on its first split.

    Args:
        run: The run.
        source: The store, and the device, precision, processes and batch to use.

    Returns:
        Accuracies in percent by name of the scores.
    """
    assert source.store is not None
    settings = source.settings or Settings()
    scoring, (metric, _) = list_scorings(run.recipe)[0], choose_metric(run.recipe.labels)
    accuracies: dict[str, list[float]] = {}
    with open_processes(settings) as processes:
        for count in COUNTS:
            testing = replace(run.recipe.testing, segments=count)
            changed = run.with_recipe(replace(run.recipe, testing=testing))
            check_test_settings(changed, source.store, settings)
            scores = score_phases(changed, scoring, source.store, settings, processes=processes)
            for name, value in scores.items():
                metrics = measure(value.get_averages(run.recipe.testing.over), value.labels)
                accuracies.setdefault(name, []).append(100 * metrics[metric])
    return accuracies
