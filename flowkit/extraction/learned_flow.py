"""Extract flow with a learned method: choose its part of the recipe, and compute it in a worker.

TV-L1 reads grey frames, and learned methods read RGB. The fields of both are quantized and stored
in the same way.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowkit.errors import RecipeError, UsageError, VideoError
from flowkit.extraction.tasks import WorkerSettings
from flowkit.flow import PRESETS, quantize
from flowkit.flow.learned.padding import compute_smallest_side, find_size_obstacle
from flowkit.flow.learned.registry import find_method
from flowkit.flow.learned.solver import LearnedFlow, load_learned_flow
from flowkit.flow.learned.weights import choose_weights
from flowkit.path_text import printable_path
from flowkit.recipe import FlowRecipe, Resize

U8 = npt.NDArray[np.uint8]
TVL1 = FlowRecipe().method
"""Name of the method that is not learned."""
NO_GREY = "none (RGB)"
"""What the recipe of a learned method says about the conversion to grey."""


def choose_method(
    root: Path,
    flow: FlowRecipe,
    stored: FlowRecipe | None,
    method: str | None,
    weights_file: Path | None,
    preset: str | None,
    name_option: Callable[[str], str],
) -> FlowRecipe:
    """Choose the method of optical flow of a run.

    Args:
        root: Folder of the store.
        flow: The part of the recipe for flow, with all other options of the user.
        stored: This part in the store; None if the store is new or has no flow.
        method: Name of the method; None for that of ``flow``.
        weights_file: The weight file; None for the file in PyTorch's cache.
        preset: The preset of TV-L1 that the user set.
        name_option: Returns how messages call an option; see `RecipeOverrides.name_option`.

    Returns:
        The part with the method, and the digest of its weights if it is learned.

    Raises:
        UsageError: No method has that name, or an option does not belong to the method.
        FlowError: The method cannot run here, or its weights are missing or of another network.
        RecipeError: The store's flow was computed with another method or other weights.
    """
    name = method or flow.method
    if name != TVL1:
        find_method(name)
        if preset is not None:
            option = name_option("preset")
            raise UsageError(
                f"{option} {preset} sets parameters of TV-L1; expected no {option} with {name}"
            )
    elif weights_file is not None:
        raise UsageError(
            f"{name_option('flow_weights')} is for learned methods; expected "
            f"{name_option('method')} raft_large or raft_small with it"
        )
    if stored is not None and stored.method != name:
        raise RecipeError(
            f"the flow of {printable_path(root)} was computed with another method (flow.method: "
            f"{stored.method} ≠ {name}): leave out {name_option('method')}, or use another store"
        )
    if name == TVL1 and flow.is_learned:  # the dataset's recipe has a learned method
        params, grey = flow.tvl1 or PRESETS["paper"], FlowRecipe().grey
        return replace(flow, method=TVL1, weights="", tvl1=params, grey=grey)
    if name == TVL1:
        return flow
    found = choose_weights(name, weights_file)
    if stored is not None and stored.weights != found.digest:
        raise RecipeError(
            f"the flow of {printable_path(root)} was computed with other weights of {name} "
            f"(flow.weights: {stored.weights} ≠ {found.digest} of {printable_path(found.path)}): "
            f"name the former weight file with {name_option('flow_weights')} FILE, or use another "
            "store"
        )
    return replace(flow, tvl1=None, grey=NO_GREY, method=name, weights=found.digest)


def check_stored_size(flow: FlowRecipe, resize: Resize) -> None:
    """Check before an extraction that a method accepts frames of the size that will be stored.

    Args:
        flow: How flow is computed.
        resize: How frames are resized.

    Raises:
        UsageError: All frames will be too small.
    """
    if not flow.is_learned:
        return
    method, obstacle = find_method(flow.method), None
    if resize.mode == "exact":
        assert resize.width is not None and resize.height is not None
        obstacle = find_size_obstacle(flow.method, method, resize.width, resize.height)
    elif resize.side is not None and resize.side < compute_smallest_side(method):
        obstacle = find_size_obstacle(flow.method, method, resize.side, resize.side)
    if obstacle is not None:
        raise UsageError(obstacle)


def check_frame_size(flow: FlowRecipe | None, source: Path, width: int, height: int) -> None:
    """Check that the method accepts the frames of a video.

    Args:
        flow: How flow is computed; None if no flow is.
        source: Path of the video.
        width: Width of the resized frames in pixels.
        height: Height of the resized frames in pixels.

    Raises:
        VideoError: The frames are too small.
    """
    if flow is None or not flow.is_learned:
        return
    obstacle = find_size_obstacle(flow.method, find_method(flow.method), width, height)
    if obstacle is not None:
        raise VideoError("bad-size", f"{printable_path(source)}: {obstacle}")


def load_method(settings: WorkerSettings) -> LearnedFlow | None:
    """Load the network of a learned method, once in a process.

    Args:
        settings: The settings of the worker.

    Returns:
        The network; None if flow is not extracted, or with TV-L1.

    Raises:
        FlowError: The method cannot run here, or its weights are not those of the recipe.
    """
    flow = settings.recipe.flow
    if flow is None or not flow.is_learned or settings.flow_weights is None:
        return None
    return load_learned_flow(flow.method, settings.flow_weights, flow.weights, settings.backend)


def compute_quantized(settings: WorkerSettings, frames0: U8, frames1: U8) -> Iterator[U8]:
    """Compute flow with a learned method, as the bytes that a store holds.

    Args:
        settings: The settings of the worker, with a learned method.
        frames0: RGB frames (N, H, W, 3).
        frames1: RGB frames of the same shape.

    Yields:
        Batches of fields from ``frames0`` to ``frames1``, uint8 (n, H, W, 2), N in total; 128 means
        no motion.
    """
    network, flow = load_method(settings), settings.recipe.flow
    assert network is not None and flow is not None
    for batch in network.compute_batches(frames0, frames1):
        yield quantize(np.ascontiguousarray(batch), flow.bound)
