"""Draw the attention weights of networks over feature sets.

Fig. 5 of Attention Clusters (Long et al., CVPR 2018) shows the weights of each unit. Fig. 6 of
CATNet (Wang, Peng, Qiao 2020) shows the frames with the highest, middle and lowest sum of weights
over all heads.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowkit.catalog import data_root
from flowkit.datasets.feature_sets import FeatureSetDataset
from flowkit.datasets.sampling import sample_middles
from flowkit.errors import FlowkitError
from flowkit.recipe import LogMelRecipe
from flowkit.store import Store, Video
from flowkit.synthetic.flash_mnist import SPLITS, FlashMNIST
from flowkit.synthetic.mnist import read_digits
from models.networks.feature_sets import SetNetwork
from train.flash_mnist.store import DATASET, digest_digits
from train.recipe.recipe import FeatureSetRecipe
from train.recipe.set_section import ATTENTION_METHODS
from train.report.figures.attention import choose_videos
from train.report.figures.drawing import (
    Drawing,
    NotApplicable,
    Source,
    make_figure,
    make_grid,
    shorten_id,
    write_beside,
)
from train.runs.phases import Phase, list_phases
from train.runs.run import Run
from train.tasks.sets import FeatureSetTask

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
MAX_COLUMNS = 40
"""Features of a video that `draw_weights` shows at most, so that their frames can be seen."""
HIGHEST, MIDDLE, LOWEST = 3, 4, 4
"""Numbers of frames in the three groups, as in the figure of CATNet."""


class LazyFrames(Sequence[U8]):
    """RGB frames of a video that are decoded when they are shown, since there may be thousands.

    Args:
        video: The video.
        frames: Indices of the frames.
    """

    def __init__(self, video: Video, frames: list[int]) -> None:
        self._video, self._frames = video, frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: Any) -> Any:
        return self._video.rgb(self._frames[index])


def draw_weights(source: Source) -> list[Drawing]:
    """Draw the frames of a few videos above the weights of each unit (Fig. 5).

    Args:
        source: The run, its store, and the videos to show.

    Returns:
        A figure for each modality.

    Raises:
        NotApplicable, UsageError, RunError: As in `compute_weights`.
    """
    drawings = []
    for modality, computed in compute_weights(source).items():
        videos = [choose_columns(*video) for video in computed]
        units, longest = (max(video[2].shape[axis] for video in videos) for axis in (0, 1))
        figure, axes = make_figure(
            0.45 * longest + 1, len(videos) * (0.18 * units + 1), nrows=2 * len(videos), ncols=1,
            squeeze=False, gridspec_kw={"height_ratios": [1, max(1.0, 0.4 * units)] * len(videos)},
        )  # fmt: skip
        for index, (name, images, weights) in enumerate(videos):
            above, below = axes[2 * index, 0], axes[2 * index + 1, 0]
            above.set_title(shorten_id(name, 40), fontsize=7)
            for x, image in enumerate(images):
                above.imshow(image, extent=(x - 0.46, x + 0.46, 0, 1), cmap="gray")
            above.set(xlim=(-0.5, weights.shape[1] - 0.5), ylim=(0, 1), aspect="auto")
            above.set_axis_off()
            below.imshow(weights, cmap="viridis", vmin=0, aspect="auto")
            below.set(xticks=[], ylabel="unit")
        caption = (
            f"Attention weights of {modality} in {len(videos)} videos: a row for each unit, and a "
            "column for each feature. Lighter means a higher weight within the same video."
        )
        if any(video[2].shape[1] > MAX_COLUMNS for video in computed):
            caption += f" At most {MAX_COLUMNS} evenly spaced features of a video are shown."
        drawings.append(Drawing(name=f"weights_{modality}", caption=caption, figure=figure))
    return drawings


def choose_columns(id: str, images: Sequence[U8], weights: F32) -> tuple[str, Sequence[U8], F32]:
    """Return a video with `MAX_COLUMNS` evenly spaced features if it has more than these."""
    length = weights.shape[1]
    if length <= MAX_COLUMNS:
        return id, images, weights
    columns = sample_middles(length, MAX_COLUMNS)
    return id, [images[column] for column in columns] if images else [], weights[:, columns]


def draw_heaviest(source: Source) -> list[Drawing]:
    """Draw the frames with the highest, middle and lowest sums of weights (Fig. 6).

    Args:
        source: The run, its store, and the videos to show.

    Returns:
        A figure for each modality whose videos can be shown.

    Raises:
        NotApplicable: As in `compute_weights`, or the store has no frames of the videos.
        UsageError, RunError: As in `compute_weights`.
    """
    drawings = []
    for modality, videos in compute_weights(source).items():
        shown = [video for video in videos if video[1]]
        if not shown:
            continue
        cells = [choose_features(weights.sum(axis=0)) for _, _, weights in shown]
        # Short sets have no features in the middle.
        columns = sorted({column for row in cells for column, _ in row})
        groups = name_groups(columns)
        figure, axes = make_grid(len(shown), len(columns), 1.1, 1.2)
        for row_axes, row, (name, images, weights) in zip(axes, cells, shown, strict=True):
            write_beside(row_axes[0], shorten_id(name, 20))
            for column, feature in row:
                cell = row_axes[columns.index(column)]
                cell.imshow(images[feature], cmap="gray")
                cell.set_title(f"{weights[:, feature].sum():.2f}", fontsize=6)
        for column, group in groups.items():
            top = axes[0][columns.index(column)]
            top.set_title(f"{group}\n{top.get_title()}".rstrip(), fontsize=6)
        caption = (
            f"Frames of features of {modality} by the sum of their weights over all units (the "
            f"numbers): up to {HIGHEST} of the highest, {MIDDLE} of the middle and {LOWEST} of the "
            "lowest; one video per row."
        )
        drawings.append(Drawing(name=f"heaviest_{modality}", caption=caption, figure=figure))
    if not drawings:
        assert source.store is not None
        advice = ""
        if source.store.header.dataset == DATASET:
            advice = (
                f"; they are drawn from the seed in {source.store.location}.json and the digits of "
                f"MNIST in {data_root() / 'mnist'}, one of which is missing, or not what the store "
                "was built with (set FLOWKIT_DATA to the folder of mnist)"
            )
        raise NotApplicable(f"{source.store.location} has no frames of the videos to show{advice}")
    return drawings


def choose_features(total: F32) -> list[tuple[int, int]]:
    """Choose the features with the highest, middle and lowest sums of weights.

    The middle of a short set has what the two other groups leave.

    Args:
        total: (L,) sum of the weights of each feature.

    Returns:
        Pairs of the column of the figure and the feature; no feature occurs twice.
    """
    order = np.argsort(-total, kind="stable")
    middle = max(0, (len(order) - MIDDLE) // 2)
    groups = (order[:HIGHEST], order[-LOWEST:], order[middle : middle + MIDDLE])
    starts, seen, chosen = (0, HIGHEST + MIDDLE, HIGHEST), set(), []
    for start, group in zip(starts, groups, strict=True):
        for column, feature in enumerate(group.tolist()):
            if feature not in seen:
                chosen.append((start + column, feature))
            seen.add(feature)
    return chosen


def name_groups(columns: list[int]) -> dict[int, str]:
    """Return the first shown column of each group that has any, with the name of the group."""
    ends = {"highest": HIGHEST, "middle": HIGHEST + MIDDLE, "lowest": HIGHEST + MIDDLE + LOWEST}
    names: dict[int, str] = {}
    for column in columns:
        group = next(name for name, end in ends.items() if column < end)
        if group not in names.values():
            names[column] = group
    return names


def compute_weights(source: Source) -> dict[str, list[tuple[str, Sequence[U8], F32]]]:
    """Compute the attention weights of the chosen videos.

    Args:
        source: The run, its store, the videos to show, and the phase (default: of the first split).

    Returns:
        For each modality with attention, a list of videos: the id, an image of each feature (or an
        empty list), and the weights (N, L) of N units over L features.

    Raises:
        NotApplicable: There is no store, the network has no attention over sets, or the videos have
            no features.
        UsageError: A named video is not in the subset, or the run has no such phase.
        RunError: The phase is not finished.
    """
    recipe, store = source.run.recipe, source.store
    if not isinstance(recipe, FeatureSetRecipe) or recipe.sets.method not in ATTENTION_METHODS:
        raise NotApplicable(f"the network of {source.run.path} has no attention over feature sets")
    if store is None:
        raise NotApplicable("the features of videos are needed; give --store STORE")
    task, network, phase = load_attention(source.run, source.list_phases()[0])
    dataset = task.open_dataset(store, phase, "test")
    rows = [int(row) for row in dataset.subset.rows]
    chosen = choose_videos(source, rows)
    results: dict[str, list[tuple[str, Sequence[U8], F32]]] = {}
    for index in chosen:
        for modality, weights in compute_video_weights(task, network, dataset, index).items():
            images = load_feature_images(store, rows[index], task.sets.streams[modality])
            video = (store.index.id(rows[index]), images, weights)
            results.setdefault(modality, []).append(video)
    if not results:
        raise NotApplicable("the videos to show have no features")
    return {modality: results[modality] for modality in task.sets.streams if modality in results}


def load_attention(
    run: Run, phase: Phase | None = None
) -> tuple[FeatureSetTask, SetNetwork, Phase]:
    """Load the network of a phase of a run on feature sets.

    Args:
        run: The run.
        phase: The phase. Default: that of the first split.

    Returns:
        A task that reads whole sets, so that all features have weights; the network; its phase.

    Raises:
        RunError: The phase is not finished.
    """
    phase = phase or list_phases(run.recipe)[0]
    recipe = run.recipe.for_split(phase.split)
    assert isinstance(recipe, FeatureSetRecipe)
    task = FeatureSetTask(replace(recipe, sets=replace(recipe.sets, test=0)))
    return task, task.load_finished_network(run, phase), phase


def compute_video_weights(
    task: FeatureSetTask, network: SetNetwork, dataset: FeatureSetDataset, index: int
) -> dict[str, F32]:
    """Compute the attention weights of one video.

    Args:
        task: The task, from `load_attention`.
        network: The network.
        dataset: Videos of the task.
        index: Index of the video in the dataset.

    Returns:
        For each modality with attention of which the video has features, weights (N, L) of N
        units over L features.
    """
    batch, results = dataset.batch([index]), {}
    for modality in task.sets.streams:
        module: Any = network.parts[modality]
        if hasattr(module, "attention") and batch[modality].shape[1]:
            with torch.no_grad():
                results[modality] = module.attention(batch[modality].float())[0].numpy()
    return results


def load_feature_images(store: Store, row: int, name: str) -> Sequence[U8]:
    """Load the frame of each feature of a video.

    Args:
        store: The store. Frames of Flash-MNIST, which a store does not have, are rendered again.
        row: Row of the video in the index of the store.
        name: Name of the features.

    Returns:
        An image for each feature; empty if `list_feature_frames` or `render_frames` finds none.
    """
    video = store[row]
    if store.header.dataset == DATASET:
        return render_frames(store, store.index.id(row))
    return LazyFrames(video, list_feature_frames(store, row, name))


def list_feature_frames(store: Store, row: int, name: str) -> list[int]:
    """List the RGB frame at the beginning of each feature of a video.

    Args:
        store: The store.
        row: Row of the video in the index of the store.
        name: Name of the features.

    Returns:
        Indices of frames; empty if the store has no RGB of the video, or if the features are of
        audio and nothing says when the frames are shown.
    """
    video = store[row]
    if "rgb" not in video.streams:
        return []
    positions = video.vectors(f"features/{name}", "position")
    if store.recipe.features[name].source == "audio":  # position k is patch k
        if video.read_stored_times() is None and not video.fps > 0:
            return []
        audio = store.recipe.audio or LogMelRecipe()
        seconds = positions * audio.patch * audio.hop_seconds
        # A frame is shown until the next one; times are rounded to microseconds, start at 0, and
        # descend where timestamps are wrong.
        times = np.maximum.accumulate(video.times())
        positions = np.searchsorted(times, seconds + 1e-6, side="right") - 1
    return [min(int(t), video.num_frames - 1) for t in positions]


def render_frames(store: Store, id: str) -> Sequence[U8]:
    """Render the frames of a Flash-MNIST video from the digits of MNIST and the seed of the store.

    Args:
        store: Store of Flash-MNIST.
        id: Id of the video.

    Returns:
        The frames; empty if the digits, or the file with the seed, are not those of the store.
    """
    facts_file = store.path.with_name(f"{store.path.name}.json")
    try:
        facts = json.loads(facts_file.read_bytes())
        seed, source = facts["seed"], facts["source"]
        digits = {split: read_digits(data_root() / "mnist", split) for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError, FlowkitError):
        return []
    videos = FlashMNIST(digits, seed=seed)
    if digest_digits(videos).digest != source:
        return []
    return list(videos.frames(*videos.find_video(id)))
