"""Answer with the pictures of a video: JPEGs as the store has them, and its sound as a picture.

Nothing is decoded here. The player decodes JPEGs in the browser and colours flow on the graphics
card. It reads several frames at a time, in one bundle:

    bundle   count (uint32), then for each frame and each of its parts: length (uint32), bytes
    parts    rgb, flow_x, flow_y: those that were requested, in this order; length 0 where a frame
             has none or it is damaged
    numbers  little-endian
"""

import struct
from collections.abc import Sequence

import cv2
import numpy as np

from flowkit.errors import CorruptError, UsageError
from flowkit.store import Video
from flowkit.streams import PATCH_SHAPE

MAX_FRAMES = 64
"""Frames of a bundle at most."""
PARTS = ("rgb", "flow_x", "flow_y")
MAX_SPECTROGRAM = 4096
"""Windows of the picture of the sound at most; longer sound is averaged."""


def read_part(video: Video, part: str, t: int) -> bytes:
    """Read one stored JPEG.

    Args:
        video: The video.
        part: One of `PARTS`.
        t: Frame.

    Raises:
        UsageError: The video does not have it.
        CorruptError: The shard is damaged.
    """
    if part == "rgb":
        return video.rgb_bytes(t)
    return video.flow_bytes(t)[part == "flow_y"]


def bundle_frames(video: Video, parts: Sequence[str], start: int, count: int) -> bytes:
    """Bundle the JPEGs of consecutive frames; see the format at the top of this module.

    Args:
        video: The video.
        parts: Which of `PARTS`, in this order.
        start: First frame.
        count: Number of frames, at most `MAX_FRAMES`; fewer are returned at the end of the video.

    Raises:
        UsageError: The video has no such frame, or a part is unknown.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise UsageError(f"parts are {', '.join(PARTS)}, got {','.join(parts)!r}")
    end = min(start + count, video.num_frames)
    if not 0 <= start < end or count > MAX_FRAMES:
        raise UsageError(
            f"expected frames from 0 to {video.num_frames - 1}, at most {MAX_FRAMES} of them, got "
            f"{count} from {start}"
        )
    chunks = [struct.pack("<I", end - start)]
    for t in range(start, end):
        for part in parts:
            try:
                jpeg = read_part(video, part, t)
            except (UsageError, CorruptError):
                jpeg = b""
            chunks += [struct.pack("<I", len(jpeg)), jpeg]
    return b"".join(chunks)


def draw_spectrogram(video: Video) -> bytes:
    """Draw the log-mel patches of a video as a grey PNG, low frequencies at the bottom.

    Args:
        video: A video with audio.

    Returns:
        A PNG of one pixel for each window and mel band.

    Raises:
        UsageError: The video has no audio, or it is silent and has no patch.
        CorruptError: The shard is damaged.
    """
    patches = video.audio()
    windows = patches.reshape(-1, PATCH_SHAPE[1])
    if not len(windows):
        raise UsageError(f"video {video.id!r} has no patch of sound")
    step = -(-len(windows) // MAX_SPECTROGRAM)
    whole = windows[: len(windows) // step * step]
    columns = whole.reshape(-1, step, PATCH_SHAPE[1]).mean(axis=1)
    low, high = float(columns.min()), float(columns.max())
    grey = ((columns - low) / (high - low or 1.0) * 255).astype(np.uint8)
    return bytes(cv2.imencode(".png", np.ascontiguousarray(grey.T[::-1]))[1])
