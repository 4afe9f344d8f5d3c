"""Check that a learned method of flow accepts the size of frames, and load its network."""

from pathlib import Path

from flowkit.errors import UsageError, VideoError
from flowkit.extraction.tasks import WorkerSettings
from flowkit.flow.learned.padding import find_size_obstacle
from flowkit.flow.learned.registry import find_method
from flowkit.flow.learned.solver import LearnedFlow, load_learned_flow
from flowkit.path_text import printable_path
from flowkit.recipe import FlowRecipe, Resize


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
