"""The public way to TV-L1: checks the frames, picks the backend, runs it.

The checks are made here and nowhere else, so every backend refuses the same input with the
same words.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError
from flowkit.flow.backends import load_backend, resolve_backend
from flowkit.flow.params import PRESETS, TVL1Params, resolve_params
from flowkit.flow.quantize import check_bound, quantize

Frames = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Flow = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def tvl1(
    frames0: Frames,
    frames1: Frames,
    params: TVL1Params | str = PRESETS["paper"],
    backend: str = "auto",
) -> Flow:
    """TV-L1 optical flow of one pair of frames, or of many pairs.

    Parameters
    ----------
    frames0, frames1: grey frames of equal shape, (H, W) or (N, H, W), and equal dtype, uint8
        or float32 with values 0–255. Any size from 1×1 on.
    params: the name of a preset ("paper", "accurate", …: the keys of `PRESETS`), or `TVL1Params`.
    backend: a key of `BACKENDS`, or "auto".

    Returns
    -------
    (H, W, 2) or (N, H, W, 2) float32: displacement (x, y) in pixels from frame0 to frame1.
    A pair gives the same bits alone as in any batch. Runs without the GIL.

    Raises FlowError for frames that cannot be used or a backend that cannot run here, and
    UsageError for an unknown backend or preset.
    """
    params = resolve_params(params)
    check_frames(frames0, "frames0", (2, 3))
    check_frames(frames1, "frames1", (2, 3))
    if frames0.shape != frames1.shape:
        raise FlowError(
            f"frames0 and frames1 must have one shape, got {frames0.shape} and {frames1.shape}"
        )
    if frames0.dtype != frames1.dtype:
        raise FlowError(
            f"frames0 and frames1 must have one dtype, got {frames0.dtype} and {frames1.dtype}"
        )
    solve_pairs = load_backend(resolve_backend(backend)).solve_pairs
    if frames0.ndim == 2:
        return solve_pairs(frames0[None], frames1[None], params)[0]  # type: ignore[no-any-return]
    return solve_pairs(frames0, frames1, params)  # type: ignore[no-any-return]


def tvl1_video(
    frames: Frames, params: TVL1Params | str = PRESETS["paper"], backend: str = "auto"
) -> Flow:
    """TV-L1 optical flow from each frame to the next.

    As `tvl1(frames[:-1], frames[1:])`, bit for bit, but each frame is prepared only once.

    Parameters
    ----------
    frames: (T, H, W), T ≥ 1, uint8 or float32 with values 0–255.
    params: as for `tvl1`.

    Returns
    -------
    (T−1, H, W, 2) float32, displacement (x, y) in pixels.
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
    bound: float = 20.0,
    backend: str = "auto",
) -> Bytes:
    """TV-L1 optical flow from each frame to the next, as the bytes that a store holds.

    As `quantize(tvl1_video(frames, params, backend), bound)`, bit for bit; a GPU backend
    quantizes before it sends the fields back, an eighth of the bytes.

    Parameters
    ----------
    frames: (T, H, W), T ≥ 1, uint8 or float32 with values 0–255.
    params: as for `tvl1`.
    bound: displacement in pixels that becomes 255.

    Returns
    -------
    (T−1, H, W, 2) uint8, 1–255; 128 is no motion.
    """
    params = resolve_params(params)
    check_frames(frames, "frames", (3,))
    module = load_backend(resolve_backend(backend))
    if len(frames) < 2 or not hasattr(module, "solve_video_quantized"):
        return quantize(tvl1_video(frames, params, backend), bound)
    check_bound(bound)
    return module.solve_video_quantized(frames, params, bound)  # type: ignore[no-any-return]


def check_frames(frames: Any, name: str, ndims: tuple[int, ...]) -> None:
    """Raise FlowError unless `frames` are grey images that every backend can use."""
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
        low, high = frames.min(), frames.max()  # NaN if any value is
        if not (low >= 0 and high <= 255):
            raise FlowError(f"{name} must lie in 0–255 and hold no NaN, got values {low}…{high}")
