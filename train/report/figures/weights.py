"""Where attention over sets looks.

Fig. 5 of Attention Clusters (Long et al., CVPR 2018): weights of each unit. Fig. 6 of CATNet (Wang,
Peng, Qiao 2020): frames with the highest, middle and lowest sum of weights over all heads.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowkit.catalog import data_root
from flowkit.errors import FlowkitError
from flowkit.store import Store
from flowkit.synthetic.flash_mnist import SPLITS, FlashMNIST
from flowkit.synthetic.mnist import read_digits
from train.flash_mnist.store import DATASET, digest_digits
from train.recipe.recipe import FeatureSetRecipe, of_split
from train.report.figures.attention import choose_videos
from train.report.figures.drawing import Drawing, Source, make_figure
from train.runs.phases import phases_of
from train.tasks.sets import FeatureSetTask

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
HIGHEST, MIDDLE, LOWEST = 3, 4, 4  # as CATNet's figure has them
"""Features of a video, by the sum of their weights, that are shown."""


def draw_weights(source: Source) -> list[Drawing]:
    """For each modality, a few videos: their frames above the weights of each unit (Fig. 5)."""
    drawings = []
    for modality, videos in find_weights(source).items():
        units, longest = (max(video[2].shape[axis] for video in videos) for axis in (0, 1))
        figure, axes = make_figure(
            0.45 * longest + 1, len(videos) * (0.18 * units + 1), nrows=2 * len(videos), ncols=1,
            squeeze=False, gridspec_kw={"height_ratios": [1, max(1.0, 0.4 * units)] * len(videos)},
        )  # fmt: skip
        for number, (name, pictures, weights) in enumerate(videos):
            above, below = axes[2 * number, 0], axes[2 * number + 1, 0]
            above.set_title(name[-40:], fontsize=7)
            for place, picture in enumerate(pictures):
                above.imshow(picture, extent=(place - 0.46, place + 0.46, 0, 1), cmap="gray")
            above.set(xlim=(-0.5, weights.shape[1] - 0.5), ylim=(0, 1), aspect="auto")
            above.set_axis_off()
            below.imshow(weights, cmap="viridis", vmin=0, aspect="auto")
            below.set(xticks=[], ylabel="unit")
        caption = (
            f"Attention weights of {modality} in {len(videos)} videos: a row for each unit, a "
            "column for each feature, the lighter the more."
        )
        drawings.append(Drawing(name=f"weights_{modality}", caption=caption, figure=figure))
    return drawings


def draw_heaviest(source: Source) -> list[Drawing]:
    """For each modality with pictures: frames of highest, middle and lowest summed weight."""
    drawings = []
    for modality, videos in find_weights(source).items():
        shown = [video for video in videos if video[1]]
        if not shown:
            continue
        columns = HIGHEST + MIDDLE + LOWEST
        figure, axes = make_figure(1.1 * columns, 1.2 * len(shown), nrows=len(shown), ncols=columns,
                                   squeeze=False)  # fmt: skip
        for column, group in ((0, "highest"), (HIGHEST, "middle"), (HIGHEST + MIDDLE, "lowest")):
            write_beside(axes[0, column], 0, 1.3, group)
        for line, (name, pictures, weights) in zip(axes, shown, strict=True):
            total = weights.sum(axis=0)
            write_beside(line[0], -0.05, 0, name[-20:], rotation=90, ha="right")
            for cell in line:
                cell.set_axis_off()
            for column, place in choose_places(total):
                line[column].imshow(pictures[place], cmap="gray")
                line[column].set_title(f"{total[place]:.2f}", fontsize=6)
        caption = (
            f"Frames of the {HIGHEST} features of {modality} with the highest sum of weights over "
            f"all units, of {MIDDLE} in the middle, and of the {LOWEST} lowest; a video in a row."
        )
        drawings.append(Drawing(name=f"heaviest_{modality}", caption=caption, figure=figure))
    return drawings


def write_beside(axes: Any, x: float, y: float, text: str, **options: Any) -> None:
    """Small text at a place of the axes, in shares of them."""
    axes.text(x, y, text, transform=axes.transAxes, fontsize=6, **options)


def choose_places(total: F32) -> list[tuple[int, int]]:
    """Which column shows which feature, by their sums of weights (L,); few are shown once."""
    order = np.argsort(-total, kind="stable")
    middle = max(0, (len(order) - MIDDLE) // 2)
    groups = (order[:HIGHEST], order[middle : middle + MIDDLE], order[-LOWEST:])
    starts, seen, found = (0, HIGHEST, HIGHEST + MIDDLE), set(), []
    for start, group in zip(starts, groups, strict=True):
        for column, place in enumerate(group.tolist()):
            if place not in seen:
                found.append((start + column, place))
            seen.add(place)
    return found


def find_weights(source: Source) -> dict[str, list[tuple[str, list[U8], F32]]]:
    """By modality: id, pictures and weights (N, L) of each of the chosen videos.

    Nothing without a store, without sets, or where the method has no attention. Of the first split.
    """
    recipe, store = source.run.recipe, source.store
    if not isinstance(recipe, FeatureSetRecipe) or store is None:
        return {}
    phase = phases_of(recipe, recipe.splits[0] if recipe.splits else None)[0]
    task = FeatureSetTask(take_all(of_split(recipe, phase.split)))
    network = task.load_finished_network(source.run, phase)
    dataset = task.open_dataset(store, phase, "test")
    rows = [int(row) for row in dataset.subset.rows]
    chosen = choose_videos(source, rows)
    found: dict[str, list[tuple[str, list[U8], F32]]] = {}
    for modality, name in task.sets.streams.items():
        part: Any = network.parts[modality]
        if not hasattr(part, "attention"):
            continue
        for index in chosen:
            batch = dataset.batch([index])
            if not batch[modality].shape[1]:
                continue
            with torch.no_grad():
                weights = part.attention(batch[modality].float())[0].numpy()
            pictures = show_features(store, rows[index], name)
            found.setdefault(modality, []).append((store.index.id(rows[index]), pictures, weights))
    return found


def take_all(recipe: FeatureSetRecipe) -> FeatureSetRecipe:
    """The recipe with sets whole in testing, so that weights are those of all features."""
    return replace(recipe, sets=replace(recipe.sets, test=0))


def show_features(store: Store, row: int, name: str) -> list[U8]:
    """A picture for each feature of a video: its frame, where the store has RGB or can be redrawn.

    None elsewhere, and where Flash-MNIST's digits are not those of the store any more.
    """
    video = store[row]
    if store.header.dataset == DATASET:
        return redraw_frames(store, store.index.id(row))
    if "rgb" not in video.streams:
        return []
    positions = video.vectors(f"features/{name}", "position")
    return [video.rgb(min(int(t), video.num_frames - 1)) for t in positions]


def redraw_frames(store: Store, id: str) -> list[U8]:
    """The frames of a video of Flash-MNIST, drawn anew from MNIST's digits and the store's seed."""
    facts = store.path.with_name(f"{store.path.name}.json")
    try:
        known = json.loads(facts.read_bytes())
        digits = {split: read_digits(data_root() / "mnist", split) for split in SPLITS}
    except (OSError, ValueError, FlowkitError):
        return []
    videos = FlashMNIST(digits, seed=known["seed"])
    if digest_digits(videos).digest != known["source"]:
        return []
    return list(videos.frames(*videos.find(id)))
