"""Pad frames to the sizes that a network accepts, and crop its flow to the frames again.

RAFT halves its frames three times, so their sides must be multiples of 8. As in the RAFT authors'
code, the outermost pixels are repeated, by equal amounts on opposite sides (one more at the right
and at the bottom if the amount is odd).
"""

import numpy as np

from flowkit.flow.learned.method import F32, U8, LearnedMethod


def compute_padding(height: int, width: int, multiple: int) -> tuple[int, int, int, int]:
    """Compute by how many pixels frames are padded.

    Args:
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        multiple: The padded height and width are the next multiples of this number.

    Returns:
        Pixels at the top, bottom, left and right.
    """
    rows, columns = -height % multiple, -width % multiple
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def pad_frames(frames: U8, multiple: int) -> U8:
    """Repeat the outermost pixels of frames until both sides are multiples of a number.

    Args:
        frames: uint8 (N, H, W, 3).
        multiple: The number.

    Returns:
        uint8 (N, H', W', 3); the same array if nothing is padded.
    """
    top, bottom, left, right = compute_padding(frames.shape[1], frames.shape[2], multiple)
    if not top + bottom + left + right:
        return frames
    return np.pad(frames, ((0, 0), (top, bottom), (left, right), (0, 0)), mode="edge")


def crop_flow(flow: F32, height: int, width: int, multiple: int) -> F32:
    """Remove from flow what `pad_frames` added to the frames.

    Args:
        flow: float32 (N, H', W', 2).
        height: Height of the frames before padding, in pixels.
        width: Width of the frames before padding, in pixels.
        multiple: The number that was passed to `pad_frames`.

    Returns:
        float32 (N, H, W, 2), a view.
    """
    top, _, left, _ = compute_padding(height, width, multiple)
    return flow[:, top : top + height, left : left + width]


def find_size_obstacle(name: str, method: LearnedMethod, width: int, height: int) -> str | None:
    """Find out why a method cannot compute flow of frames of a size.

    Args:
        name: Name of the method.
        method: The method.
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.

    Returns:
        The reason in one line, with what to do; None if the size is accepted.
    """
    smallest = compute_smallest_side(method)
    if min(width, height) >= smallest:
        return None
    return (
        f"frames of {width}x{height} pixels are too small for {name}, which needs at least "
        f"{smallest} on each side ({method.min_side} after padding to a multiple of "
        f"{method.multiple}): store larger frames (--size 256x256, or --short-side 256 "
        "--upscale), or use TV-L1"
    )


def compute_smallest_side(method: LearnedMethod) -> int:
    """Compute the smallest side of a frame in pixels that is large enough after padding."""
    least_multiple = -(-method.min_side // method.multiple)
    return (least_multiple - 1) * method.multiple + 1
