"""Where pyramid attention looks, and what K does: Figs. 3, 4 and 5 of Du et al. 2018.

A position is *salient* for a place of the attended map if its weight is more than a share of the
largest weight of that place: 0.5 over frames, 0.7 over places. (The paper thresholds the weights
themselves, whose rows have norm 1: with even weights over 25 frames none would reach 0.5.)

`draw_frames` evaluates the run anew for every K, which takes its time: it is drawn only if it is
asked for by name.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowkit.flow import flow_to_color
from models.networks.pyramid import PyramidNetwork
from train.evaluation.evaluate import score_phases
from train.evaluation.scores import METRICS, measure
from train.recipe.recipe import ImageRecipe, of_split
from train.report.figures.attention import choose_videos
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.phases import Phase, list_phases, list_scorings
from train.runs.run import Run, Settings
from train.tasks.backbones import find_inputs
from train.tasks.networks import find_image_recipe, finished_network
from train.tasks.samples import make_dataset, needed_streams, prepare_images

SHOWN, FRAMES_SHARE, PLACES_SHARE = 5, 0.5, 0.7
COUNTS = (1, 5, 10, 15, 20, 25, 30)
SCALES = ("#1f77ff", "#2ca02c", "#d62728")  # 1, 2 and 3 scales: blue, green, red
F32 = npt.NDArray[np.float32]


def draw_receptive(source: Source) -> list[Drawing]:
    """Salient positions over frames (Fig. 4), and for places of the map (Fig. 5), by stream.

    Nothing without a store or a pyramid.
    """
    if source.store is None or not has_pyramid(source.run):
        return []
    first = list_phases(source.run.recipe)[0].split
    drawings = []
    for phase in list_phases(source.run.recipe):
        if phase.split == first:
            drawings += draw_stream(source, phase)
    return drawings


def has_pyramid(run: Run) -> bool:
    """Whether a run was trained with pyramid attention."""
    return isinstance(run.recipe, ImageRecipe) and run.recipe.network.pyramid is not None


def draw_stream(source: Source, phase: Phase) -> list[Drawing]:
    """Both figures of one branch."""
    assert source.store is not None
    recipe = of_split(find_image_recipe(source.run), phase.split)
    longer = replace(recipe, data=replace(recipe.data, num_segments=SHOWN))
    dataset = make_dataset(longer, source.store, needed_streams(phase), "validate")
    chosen = choose_videos(source, [int(row) for row in dataset.subset.rows])
    network = getattr(finished_network(source.run, phase, phase.stream), phase.branch)
    seen = []
    for index in chosen:
        images = dataset[0, index][phase.branch]
        pictures = [show_image(image, source.store.bound) for image in images]
        seen.append((pictures, find_weights(network, longer, phase, images)))
    height, width = network.attention.size
    wanted = np.unique(np.linspace(0, height * width - 1, SHOWN).round().astype(int))
    across, at_places = [], []
    for pictures, maps in seen:
        across.append([(p, [m[0, k] for m in maps], FRAMES_SHARE) for k, p in enumerate(pictures)])
        at_places.append([(pictures[0], [maps[-1][at, 0]], PLACES_SHARE) for at in wanted])
    names = ", ".join(("1 scale blue", "2 green", "3 red")[: len(network.taps)])
    return [
        Drawing(
            name=f"salient_frames_{phase.branch}",
            caption=f"Salient positions of {SHOWN} frames for the map's first place ({phase.name}; "
            f"{names}: the top levels of the run's own pyramid).",
            figure=draw_rows(across),
        ),
        Drawing(
            name=f"salient_places_{phase.branch}",
            caption=f"Salient positions of one frame for places of the map ({phase.name}; "
            f"places {', '.join(map(str, wanted))} of {height}×{width}).",
            figure=draw_rows(at_places),
        ),
    ]


def find_weights(
    network: PyramidNetwork, recipe: ImageRecipe, phase: Phase, images: torch.Tensor
) -> list[F32]:
    """A of equation 3 by its top 1, 2, … levels (three at most), each (D, K, H, W)."""
    inputs = find_inputs(recipe, SHOWN)
    batch: dict[Any, torch.Tensor] = {phase.branch: images[None]}
    given = prepare_images(batch, (phase.stream,), torch.device("cpu"), inputs)
    with torch.no_grad():
        levels, _ = network.extract_levels(given[phase.branch])
        counts = range(1, min(len(levels), len(SCALES)) + 1)
        return [network.attention.attention(levels, SHOWN, n)[0].numpy() for n in counts]


def show_image(image: torch.Tensor, bound: float) -> npt.NDArray[np.uint8]:
    """A snippet's RGB frame, or its first flow field in colours, (H, W, 3)."""
    planes: npt.NDArray[np.uint8] = image.permute(1, 2, 0).numpy()
    if planes.shape[2] == 3:
        return planes
    field = (planes[..., :2].astype(np.float32) - 128) / 127 * bound
    return flow_to_color(field.astype(np.float32))


def draw_rows(rows: list[list[tuple[npt.NDArray[np.uint8], list[F32], float]]]) -> Any:
    """Pictures with the centres of salient positions, a colour for each number of scales."""
    columns = len(rows[0])
    figure, axes = make_figure(1.7 * columns, 1.8 * len(rows), nrows=len(rows), ncols=columns,
                               squeeze=False)  # fmt: skip
    for line, cells in zip(axes, rows, strict=True):
        for cell, (picture, maps, share) in zip(line, cells, strict=True):
            cell.imshow(picture)
            cell.set_axis_off()
            for colour, weights in zip(SCALES[-len(maps) :] if len(maps) == 1 else SCALES, maps,
                                       strict=False):  # fmt: skip
                mark_salient(cell, picture.shape[:2], weights, share, colour)
    return figure


def mark_salient(cell: Any, size: tuple[int, ...], weights: F32, share: float, colour: str) -> None:
    """Dots at the positions (H, W) whose weight is more than a share of the largest."""
    rows, columns = np.nonzero(weights > share * weights.max())
    step_y, step_x = size[0] / weights.shape[0], size[1] / weights.shape[1]
    cell.plot((columns + 0.5) * step_x, (rows + 0.5) * step_y, "o", color=colour, ms=3, alpha=0.7)


def draw_frames(source: Source) -> list[Drawing]:
    """Accuracy over K at testing, a line for each run: trained with other K (Fig. 3)."""
    if source.store is None or not has_pyramid(source.run):
        return []
    figure, axes = make_figure()
    runs = [run for run in (source.run, source.against) if run]
    runs = [run for run in runs if isinstance(run.recipe, ImageRecipe)]
    rows = [["K at training", "score", *map(str, COUNTS)]]
    for run in runs:
        for name, values in score_counts(run, source).items():
            trained = find_image_recipe(run).data.num_segments
            colour = ACCENTS[(len(rows) - 1) % len(ACCENTS)]
            axes.plot(COUNTS, values, "o-", ms=3, color=colour, label=f"K = {trained}, {name}")
            rows.append([str(trained), name, *(f"{value:.1f}" for value in values)])
    title = next(iter(METRICS[source.run.recipe.labels].values()))
    axes.set(xlabel="K at testing", ylabel=f"{title}, %")
    axes.legend(fontsize=8, frameon=False)
    caption = "Accuracy over the number of frames K that one prediction is made of."
    return [
        Drawing(name="frames", caption=caption, figure=figure),
        Drawing(name="frames_table", caption=caption, rows=rows),
    ]


def score_counts(run: Run, source: Source) -> dict[str, list[float]]:
    """Percent by name of score, for each of `COUNTS`; of the first split."""
    assert source.store is not None
    scoring, metric = list_scorings(run.recipe)[0], next(iter(METRICS[run.recipe.labels]))
    found: dict[str, list[float]] = {}
    for count in COUNTS:
        changed = Run(run.path)
        changed.recipe = replace(run.recipe, testing=replace(run.recipe.testing, segments=count))
        scores = score_phases(changed, scoring, source.store, Settings(), lambda _: lambda *_: None)
        for name, value in scores.items():
            metrics = measure(value.of(run.recipe.testing.over), value.labels)
            found.setdefault(name, []).append(100 * metrics[metric])
    return found
