"""Compute TV-L1 optical flow: check the frames, choose the backend, and run it.

The frames are checked only here, so every backend rejects the same input with the same message.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError
from flowkit.flow.backends import load_backend, resolve_backend
from flowkit.flow.params import DEFAULT_BOUND, PRESETS, TVL1Params, resolve_params
from flowkit.flow.quantization import check_bound, quantize

Frames = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Flow = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def tvl1(
    frames0: Frames,
    frames1: Frames,
    params: TVL1Params | str = PRESETS["paper"],
    backend: str = "auto",
) -> Flow:
    """Compute the TV-L1 optical flow of one pair of frames, or of many pairs.

    The flow of a pair has the same bits whether it is computed alone or with others. The GIL is
    released during the computation.

    Args:
        frames0: Grey frames (H, W) or (N, H, W), uint8 or float32 with values 0–255, at
            least 1×1.
        frames1: Grey frames of the same shape and dtype.
        params: The name of a preset (a key of `PRESETS`, such as "paper"), or `TVL1Params`.
        backend: A key of `BACKENDS`, or "auto" for the best one that can run here.

    Returns:
        float32 (H, W, 2) or (N, H, W, 2), displacement (x, y) in pixels from a frame of `frames0`
        to the frame of `frames1` at the same index.

    Raises:
        FlowError: The frames cannot be used, or the backend cannot run here.
        UsageError: No backend or preset has that name.

    Example:
        flow = tvl1(frame0, frame1, params="fast")
    """
    params = resolve_params(params)
    check_frames(frames0, "frames0", (2, 3))
    check_frames(frames1, "frames1", (2, 3))
    if frames0.shape != frames1.shape:
        raise FlowError(
            f"frames0 and frames1 must have the same shape, got {frames0.shape} and {frames1.shape}"
        )
    if frames0.dtype != frames1.dtype:
        raise FlowError(
            f"frames0 and frames1 must have the same dtype, got {frames0.dtype} and {frames1.dtype}"
        )
    solve_pairs = load_backend(resolve_backend(backend)).solve_pairs
    if frames0.ndim == 2:
        return solve_pairs(frames0[None], frames1[None], params)[0]  # type: ignore[no-any-return]
    return solve_pairs(frames0, frames1, params)  # type: ignore[no-any-return]


def tvl1_video(
    frames: Frames, params: TVL1Params | str = PRESETS["paper"], backend: str = "auto"
) -> Flow:
    """Compute the TV-L1 optical flow from each frame to the next.

    The result is that of `tvl1(frames[:-1], frames[1:])`, bit for bit, but each frame is prepared
    only once.

    Args:
        frames: Grey frames (T, H, W), T ≥ 1, uint8 or float32 with values 0–255.
        params: The name of a preset (a key of `PRESETS`, such as "paper"), or `TVL1Params`.
        backend: A key of `BACKENDS`, or "auto" for the best one that can run here.

    Returns:
        float32 (T−1, H, W, 2), displacement (x, y) in pixels.

    Raises:
        FlowError: The frames cannot be used, or the backend cannot run here.
        UsageError: No backend or preset has that name.
    """
    params = resolve_params(params)
    check_frames(frames, "frames", (3,))
    module = load_backend(resolve_backend(backend))
    if len(frames) == 1:
        return np.empty((0, *frames.shape[1:], 2), np.float32)
    if hasattr(module, "solve_video"):
        return module.solve_video(frames, params)  # type: ignore[no-any-return]
    return module.solve_pairs(frames[:-1], frames[1:], params)  # type: ignore[no-any-return]


def tvl1_video_quantized(
    frames: Frames,
    params: TVL1Params | str = PRESETS["paper"],
    bound: float = DEFAULT_BOUND,
    backend: str = "auto",
) -> Bytes:
    """Compute the TV-L1 optical flow from each frame to the next, as the bytes that a store holds.

    The result is that of `quantize(tvl1_video(frames, params, backend), bound)`, bit for bit. The
    backends of TV-L1 here quantize on their device, so that a GPU sends a quarter of the bytes.

    Args:
        frames: Grey frames (T, H, W), T ≥ 1, uint8 or float32 with values 0–255.
        params: The name of a preset (a key of `PRESETS`, such as "paper"), or `TVL1Params`.
        bound: Displacement in pixels that becomes 255.
        backend: A key of `BACKENDS`, or "auto" for the best one that can run here.

    Returns:
        uint8 (T−1, H, W, 2), 1–255; 128 means no motion.

    Raises:
        FlowError: The frames or the bound cannot be used, or the backend cannot run here.
        UsageError: No backend or preset has that name.
    """
    params = resolve_params(params)
    check_frames(frames, "frames", (3,))
    check_bound(bound)
    module = load_backend(resolve_backend(backend))
    if len(frames) < 2 or not hasattr(module, "solve_video_quantized"):
        return quantize(tvl1_video(frames, params, backend), bound)
    return module.solve_video_quantized(frames, params, bound)  # type: ignore[no-any-return]


def check_frames(frames: Any, name: str, ndims: tuple[int, ...]) -> None:
    """Check that every backend can use the frames.

    Args:
        frames: What should be grey frames.
        name: Name of the argument, for error messages.
        ndims: Numbers of dimensions that are allowed: 2, 3 or both.

    Raises:
        FlowError: The frames have another type, shape or dtype, or values outside 0–255.
    """
    shapes = " or ".join({2: "(H, W)", 3: "(N, H, W)"}[ndim] for ndim in ndims)
    if not isinstance(frames, np.ndarray):
        raise FlowError(
            f"{name} must be a NumPy array of shape {shapes}, got {type(frames).__name__}"
        )
    if frames.ndim not in ndims:
        raise FlowError(f"{name} must be grey, of shape {shapes}, got shape {frames.shape}")
    if frames.dtype != np.uint8 and frames.dtype != np.float32:
        raise FlowError(f"{name} must be uint8 or float32 with values 0–255, got {frames.dtype}")
    if frames.size == 0:
        raise FlowError(f"{name} must hold at least one pixel, got shape {frames.shape}")
    if frames.dtype == np.float32:
        low, high = frames.min(), frames.max()  # NaN if any value is NaN
        if not (low >= 0 and high <= 255):
            raise FlowError(f"{name} must be in 0–255 and hold no NaN, got values {low}…{high}")
