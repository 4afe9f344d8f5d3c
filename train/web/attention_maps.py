"""Compute where a run's networks attend in the images of a video: cross-modality and pyramid.

The weights are those of the figures ``attention`` and ``receptive`` of `flowkit report`, computed
by the same functions. Everything here runs in the worker thread (on_demand.py), which stops it
between two modules of a network if nobody waits for the result.

A *snippet* is one input of a network: a frame, and the flow fields from it on. Networks on clips
have a clip instead, and attend over its frames too. A *block* is one attention block, such as
``to_rgb/res4_1``: where RGB attends in flow, after step res4_1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from flowkit.datasets.sampling import make_generator
from flowkit.datasets.video_dataset import VideoDataset
from flowkit.errors import UsageError
from flowkit.store import Store
from flowkit.streams import StreamName
from models.networks.pyramid import PyramidNetwork
from models.networks.two_stream import BLOCK_KINDS, BRANCHES, Scores, TwoStream, is_identity
from train.recipe.recipe import ImageRecipe
from train.report.figures.attention_maps import AttentionMap, compute_maps
from train.report.figures.receptive import SHOWN, compute_weights
from train.runs.phases import Phase, list_phases
from train.runs.run import Run
from train.tasks.backbones import describe_input
from train.tasks.networks import get_image_recipe, load_phase_network
from train.tasks.samples import list_network_streams, make_dataset

F32 = npt.NDArray[np.float32]
NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block, and its attention map for one snippet."""

    name: str
    """Name of the block, such as ``to_rgb/res4_1``."""
    query: StreamName
    """The stream that attends."""
    key: StreamName
    """The stream that it attends to."""
    map: AttentionMap
    """Its attention map, and the grids of its queries and keys."""


@dataclass(frozen=True, kw_only=True)
class Snippets:
    """The snippets of a video that a network sees."""

    times: tuple[int, ...]
    """The frame of each snippet, of a clip its first."""
    clips: tuple[tuple[int, ...], ...] | None
    """For a network on clips, the frames of each clip."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the crop that it sees, as fractions of the frame."""


@dataclass(frozen=True, kw_only=True)
class SnippetMaps:
    """The attention maps of all trained blocks for one snippet."""

    snippets: Snippets
    """The snippets of the video."""
    blocks: dict[str, Block]
    """Trained blocks by name."""
    untrained: tuple[str, ...]
    """Names of blocks that no phase has trained yet: they change nothing."""

    @property
    def nbytes(self) -> int:
        """Return the bytes that the maps take up."""
        return sum(block.map.weights.nbytes for block in self.blocks.values())


@dataclass(frozen=True, kw_only=True)
class PyramidMaps:
    """The weights of pyramid attention for one video."""

    snippets: Snippets
    """The snippets of the video."""
    size: tuple[int, int]
    """Height and width of the map that attention computes."""
    scales: list[F32]
    """For the top 1, 2, … levels: (D, K, h, w) weights of D positions of the map."""

    @property
    def nbytes(self) -> int:
        """Return the bytes that the weights take up."""
        return sum(scale.nbytes for scale in self.scales)


class ImageAttention:
    """Computes the attention of a run on images.

    Args:
        run: The run.
        check: Called before each module of a network; raises an error to stop it.
    """

    def __init__(self, run: Run, check: Callable[[], None]) -> None:
        self._run, self._check = run, check
        self._load_cached = lru_cache(maxsize=2)(self._load_network)

    def compute_snippet(
        self, store: Store, phase: Phase, row: int, snippet: int | None
    ) -> SnippetMaps:
        """Compute the attention maps of the blocks of a two-stream network.

        Args:
            store: The store.
            phase: A finished phase with attention.
            row: Row of the video in the store.
            snippet: Index of the snippet; None for the middle one.

        Raises:
            UsageError: The video has no such snippet, or lacks a stream.
        """
        recipe = get_image_recipe(self._run).for_split(phase.split)
        dataset = open_video(recipe, store, phase, row)
        snippets = describe_snippets(dataset, row)
        middle = len(snippets.times) // 2 if snippet is None else snippet
        if not 0 <= middle < len(snippets.times):
            raise UsageError(f"the video has snippets 0 to {len(snippets.times) - 1}, got {middle}")
        network = self._load(phase)
        blocks, untrained = list_blocks(network)
        sample = dataset[0, 0]
        maps = compute_maps(network, sample, middle, phase, blocks, describe_input(recipe, 1))
        return SnippetMaps(
            snippets=snippets,
            blocks={name: make_block(name, attention) for name, attention in maps.items()},
            untrained=untrained,
        )

    def compute_pyramid(self, store: Store, phase: Phase, row: int) -> PyramidMaps:
        """Compute the weights of pyramid attention over `SHOWN` snippets of a video.

        Args:
            store: The store.
            phase: A finished phase.
            row: Row of the video in the store.

        Raises:
            UsageError: The video lacks a stream.
        """
        recipe = get_image_recipe(self._run).for_split(phase.split)
        shown_recipe = replace(recipe, data=replace(recipe.data, num_segments=SHOWN))
        dataset = open_video(shown_recipe, store, phase, row)
        network: PyramidNetwork = getattr(self._load(phase), phase.branch)
        images = dataset[0, 0][phase.branch]
        return PyramidMaps(
            snippets=describe_snippets(dataset, row),
            size=network.attention.size,
            scales=compute_weights(network, shown_recipe, phase, images),
        )

    def _load(self, phase: Phase) -> TwoStream:
        weights = self._run.folder(phase.name) / "weights.pt"
        return self._load_cached(phase.name, weights.stat().st_mtime_ns)

    def _load_network(self, name: str, changed: int) -> TwoStream:
        """Load the network of a phase, whose weights changed at this time."""
        phase = next(phase for phase in list_phases(self._run.recipe) if phase.name == name)
        scores: Scores = "both" if phase.cma else phase.stream
        return make_cancellable(load_phase_network(self._run, phase, scores), self._check)


def open_video(recipe: ImageRecipe, store: Store, phase: Phase, row: int) -> VideoDataset:
    """Open one video as validation does.

    Raises:
        UsageError: The video lacks a stream.
    """
    streams, stored = list_network_streams(phase), store[row].streams
    missing = [stream for stream in streams if stream not in stored]
    if missing:
        raise UsageError(f"the video has no {' and no '.join(missing)}, which the network sees")
    return make_dataset(recipe, store, streams, "validate", row)


def make_cancellable(network: NetworkT, check: Callable[[], None]) -> NetworkT:
    """Let a function be called before each module of a network, which may raise to stop it."""
    for module in network.modules():
        module.register_forward_pre_hook(lambda *_: check())
    return network


def describe_snippets(dataset: VideoDataset, row: int) -> Snippets:
    """Describe the frames and the first crop of a video that a dataset reads."""
    video = dataset.subset.store[row]
    random = make_generator(dataset.seed, 0, row)
    times, _ = dataset.sample_times(row, random)
    crop = dataset.crops(video.height, video.width, random)[0]
    return Snippets(
        times=tuple(times[:, 0].tolist()),
        clips=tuple(map(tuple, times.tolist())) if dataset.clip_shape else None,
        box=(
            crop.left / video.width,
            crop.top / video.height,
            (crop.left + crop.width) / video.width,
            (crop.top + crop.height) / video.height,
        ),
    )


def list_blocks(network: TwoStream) -> tuple[dict[str, Any], tuple[str, ...]]:
    """List the attention blocks of a network in the order in which they run.

    Returns:
        Trained blocks by name, and the names of blocks that are still the identity.
    """
    blocks: dict[str, Any] = {}
    untrained = []
    for branch in BRANCHES:
        for kind in BLOCK_KINDS:
            for step, block in getattr(network, f"{kind}_{branch}").items():
                name = f"{kind}_{branch}/{step}"
                if is_identity(block):
                    untrained.append(name)
                else:
                    blocks[name] = block
    return blocks, tuple(untrained)


def make_block(name: str, attention: AttentionMap) -> Block:
    """Make the description of a block from its name and its attention map."""
    prefix, _, branch = name.partition("/")[0].rpartition("_")
    query: StreamName = "rgb" if branch == "rgb" else "flow"
    other: StreamName = "flow" if query == "rgb" else "rgb"
    return Block(name=name, query=query, key=other if prefix == "to" else query, map=attention)
