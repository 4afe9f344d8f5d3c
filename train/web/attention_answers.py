"""Describe attention as JSON values: what the page of a video draws."""

from typing import Any

import numpy as np
import torch

from flowkit.errors import UsageError
from flowkit.store import Store
from train.report.figures.attention_maps import choose_frame, list_arrows, split_frames
from train.report.figures.receptive import FRAMES_THRESHOLD, find_thresholds
from train.report.figures.weights import compute_video_weights, list_feature_frames, load_attention
from train.runs.run import Run
from train.web.attention_maps import F32, PyramidMaps, SnippetMaps


def describe_blocks(maps: SnippetMaps, snippet: int | None) -> dict[str, Any]:
    """Describe the blocks of a network and the snippets of a video.

    Grids are (h, w), for clips (t, h, w). Of a clip there are also ``clip``, the frames of the
    video that are in it, and ``steps`` of each block: for each t the frame that is shown, and the
    first and last frame that t stands for.
    """
    index = len(maps.snippets.times) // 2 if snippet is None else snippet
    clip = maps.snippets.clips[index] if maps.snippets.clips else None
    return {
        "times": maps.snippets.times,
        "box": maps.snippets.box,
        "snippet": index,
        "clip": clip,
        "blocks": [
            {"name": block.name, "query": block.query, "key": block.key,
             "size": block.map.query, "pooled": block.map.key,
             "steps": clip and list_steps(clip, block.map.query[0])}
            for block in maps.blocks.values()
        ],
        "untrained": list(maps.untrained),
    }  # fmt: skip


def list_steps(clip: tuple[int, ...], count: int) -> list[dict[str, int]]:
    """List the steps of the features of a clip, by the frames of the video."""
    return [
        {"frame": clip[choose_frame(step)], "first": clip[step[0]], "last": clip[step[-1]]}
        for step in split_frames(len(clip), count)
    ]


def describe_point(
    maps: SnippetMaps, name: str, point: tuple[float, float], step: int | None
) -> dict[str, Any]:
    """Describe where a block attends from one point of a picture.

    Args:
        maps: The maps of the snippet.
        name: Name of a block.
        point: The point (x, y) as fractions of the crop.
        step: For a clip, the step of the block's features that has the point; None for the middle
            one.

    Returns:
        ``query``, the row and column of the point's position in the grid of queries; ``weights``,
        a row of the attention map as (h, w); ``arrows``, row, column and opacity of the highest.
        For a clip, ``query`` has the step first, ``weights`` are (t, h, w), ``arrows`` are listed
        for each step, and ``shares`` are the sums of the weights of each step.

    Raises:
        UsageError: There is no such block, or it has no such step.
    """
    if name not in maps.blocks:
        raise UsageError(f"no block {name!r}; there are {', '.join(maps.blocks) or 'none'}")
    attention = maps.blocks[name].map
    steps = attention.query[0] if maps.snippets.clips else 1
    if step is not None and step >= steps:
        raise UsageError(f"the block {name} has steps 0 to {steps - 1}, got {step}")
    query = attention.find_query(point, step)
    weights = attention.read_weights(query)
    answer = {"block": name, "query": query, "size": attention.query}
    if weights.ndim == 2:
        return answer | {"weights": round_weights(weights), "arrows": list_arrows(weights)}
    largest = float(weights.max())
    return answer | {
        "weights": [round_weights(plane) for plane in weights],
        "arrows": [list_arrows(plane, largest) for plane in weights],
        "shares": round_weights(weights.sum(axis=(1, 2))[None])[0],
    }


def describe_positions(maps: PyramidMaps, position: int) -> dict[str, Any]:
    """Describe the salient positions of each number of levels for one position of the map.

    Args:
        maps: The weights of the video.
        position: Index of the position.

    Raises:
        UsageError: The map has no such position.
    """
    height, width = maps.size
    if not 0 <= position < height * width:
        raise UsageError(f"the map has positions 0 to {height * width - 1}, got {position}")
    thresholds = find_thresholds(maps.scales, position, FRAMES_THRESHOLD)
    return {
        "times": maps.snippets.times,
        "box": maps.snippets.box,
        "size": maps.size,
        "position": position,
        "threshold": FRAMES_THRESHOLD,
        "scales": [
            [np.argwhere(frame > threshold).tolist() for frame in scale[position]]
            for scale, threshold in zip(maps.scales, thresholds, strict=True)
        ],
        "weights": [[round_weights(frame) for frame in scale[position]] for scale in maps.scales],
    }


def describe_sets(run: Run, store: Store, row: int) -> dict[str, Any]:
    """Compute the attention weights of every unit over the features of a video.

    Args:
        run: A run on feature sets.
        store: The store.
        row: Row of the video in the store.

    Raises:
        UsageError: The video has no features that the run attends to.
        StoreError: It lacks features that the network needs.
    """
    task, network, phase = load_attention(run)
    dataset = task.open_dataset(store, phase, "test", row)
    weights = compute_video_weights(task, network, dataset, 0)
    if not weights:
        raise UsageError("the video has no features that this run attends to")
    batch = dataset.batch([0])
    modalities = []
    for modality, values in weights.items():
        module: Any = network.parts[modality]
        with torch.no_grad():
            relations = (
                module.relations(batch[modality].float())[0].tolist()
                if hasattr(module, "relations")
                else None
            )
        modalities.append({
            "name": modality,
            "features": task.sets.streams[modality],
            "frames": list_feature_frames(store, row, task.sets.streams[modality]),
            "weights": round_weights(values),
            "relations": relations,
        })  # fmt: skip
    return {"modalities": modalities}


def round_weights(weights: F32) -> list[list[float]]:
    """Return weights as nested lists of numbers with six significant digits, short in JSON."""
    return [[float(f"{value:.6g}") for value in line] for line in weights.tolist()]
