"""Compute attention maps of cross-modality and non-local blocks, for one snippet or clip.

The figure ``attention`` of `flowkit report` and the page of `flowkit view` draw these maps.
Features of a snippet have a grid (h, w) of positions, those of a clip a grid (t, h, w). A position
along t is called a *step*: pooling over time makes each step stand for several frames of the clip.

    N M  positions of the queries and of the keys        t h w  steps, rows and columns of a grid
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.networks.two_stream import TwoStream
from train.runs.phases import Phase
from train.tasks.backbones import InputDescription
from train.tasks.samples import list_network_streams, prepare_images

F32 = npt.NDArray[np.float32]
ARROWS = 5
"""Number of arrows in a picture."""


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    """The attention map of one block for one snippet or clip."""

    weights: F32
    """(N, M) weights; each row sums to 1."""
    query: tuple[int, ...]
    """Grid of the N queries: (h, w) of a snippet, (t, h, w) of a clip."""
    key: tuple[int, ...]
    """Grid of the M keys, with as many numbers."""

    def find_query(self, point: tuple[float, float], step: int | None = None) -> tuple[int, ...]:
        """Find the query at a point of a picture.

        Args:
            point: The point (x, y), as fractions of width and height.
            step: The step of the query, for a clip. Default: the one in the middle.

        Returns:
            Its row and column; for a clip, its step before them.
        """
        height, width = self.query[-2:]
        cell = min(int(point[1] * height), height - 1), min(int(point[0] * width), width - 1)
        if len(self.query) == 2:
            return cell
        return (self.query[0] // 2 if step is None else step, *cell)

    def read_weights(self, query: tuple[int, ...]) -> F32:
        """Return the weights of a query (from `find_query`) in the shape of the grid of keys."""
        weights: F32 = self.weights[np.ravel_multi_index(query, self.query)].reshape(self.key)
        return weights


def compute_maps(
    network: TwoStream,
    sample: dict[str, torch.Tensor],
    k: int,
    phase: Phase,
    blocks: dict[str, Any],
    inputs: InputDescription,
) -> dict[str, AttentionMap]:
    """Compute the attention maps of blocks for one snippet or clip.

    Args:
        network: Two-stream network.
        sample: A sample with uint8 images.
        k: Index of the snippet or clip in the sample.
        phase: Phase of the network.
        blocks: Attention blocks by name.
        inputs: Describes one input of the network.

    Returns:
        The map of each block, by the same names.
    """
    block_inputs: dict[str, tuple[torch.Tensor, ...]] = {}
    hooks = [
        block.register_forward_pre_hook(
            lambda _, values, name=name: block_inputs.update({name: values})
        )
        for name, block in blocks.items()
    ]
    streams = list_network_streams(phase)
    batch: dict[str, torch.Tensor] = {stream: sample[stream][None, k : k + 1] for stream in streams}
    maps = {}
    try:
        with torch.no_grad():
            network(**prepare_images(batch, streams, torch.device("cpu"), inputs))
            for name, block in blocks.items():
                x, y = block_inputs[name][0], block_inputs[name][-1]
                weights = block.attention(x, y)[0].numpy()
                key = block.pooled_size(y)
                maps[name] = AttentionMap(weights=weights, query=tuple(x.shape[2:]), key=key)
    finally:
        for hook in hooks:
            hook.remove()
    return maps


def list_arrows(weights: F32, largest: float | None = None) -> list[tuple[int, int, float]]:
    """List where the arrows of a query lead in one picture: to its `ARROWS` highest weights.

    Args:
        weights: (h, w) weights of one query, of one step.
        largest: The weight whose arrow is opaque. Default: the largest of these.

    Returns:
        Row, column and opacity (0.1–1) of each, the highest weight first.
    """
    largest = float(weights.max()) if largest is None else largest
    arrows = []
    for key in np.argsort(-weights, axis=None, kind="stable")[:ARROWS]:
        y, x = np.unravel_index(key, weights.shape)
        opacity = max(0.1, float(weights[y, x] / largest))
        arrows.append((int(y), int(x), opacity))
    return arrows


def split_frames(frames: int, steps: int) -> list[range]:
    """Split the frames of a clip among the steps of its features.

    The networks halve time, rounding up or down, so that the stride is a power of two: P3D turns 12
    frames into 6, 3 and then 2 steps, of which the first stands for 8 frames and the last for 4.

    Args:
        frames: Frames of the clip.
        steps: Steps of the features.

    Returns:
        The frames of each step, counted from 0 within the clip; together all of them.
    """
    strides = [1 << exponent for exponent in range(frames.bit_length() + 1)]
    exact = [s for s in strides if -(-frames // s) == steps]
    exact = exact or [s for s in strides if frames // s == steps]
    starts = (
        [exact[0] * step for step in range(steps)]
        if exact
        else [step * frames // steps for step in range(steps)]
    )
    return [range(*pair) for pair in zip(starts, [*starts[1:], frames], strict=True)]


def choose_frame(frames: range) -> int:
    """Choose the frame in the middle of a step."""
    return frames[len(frames) // 2]
