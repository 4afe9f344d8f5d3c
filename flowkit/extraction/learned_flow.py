"""Extract flow with a learned method: check the size of frames, and compute flow in a worker.

TV-L1 reads grey frames, and learned methods read RGB. The fields of both are quantized and stored
in the same way.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError, VideoError
from flowkit.extraction.tasks import WorkerSettings
from flowkit.flow import quantize
from flowkit.flow.learned.padding import find_size_obstacle
from flowkit.flow.learned.registry import find_method
from flowkit.flow.learned.solver import LearnedFlow, load_learned_flow
from flowkit.path_text import printable_path
from flowkit.recipe import FlowRecipe, Resize

U8 = npt.NDArray[np.uint8]


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
    width, height = resize.width or resize.side, resize.height or resize.side
    if width is None or height is None:
        return  # each video keeps its size
    obstacle = find_size_obstacle(flow.method, find_method(flow.method), width, height)
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
