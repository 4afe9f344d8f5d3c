"""Measure how far the flow of a motion8 store is from the true flow, for `flowkit demo`.

motion8 is a rendered dataset: each of its videos shows textured shapes that move in a known way. In
`flowkit.synthetic.motion8` a `Clip` describes one such video, from which its true flow is computed.

The error is that of the whole pipeline: H.264, resize, TV-L1, quantization and JPEG.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError
from flowkit.store import Store, Video
from flowkit.synthetic.motion8 import CLASSES, load_clip, true_flow


@dataclass(frozen=True, kw_only=True)
class ClassError:
    """Flow error of one class, over the valid pixels of its sampled frame pairs."""

    name: str
    """Name of the class."""
    pairs: int
    """Number of frame pairs."""
    endpoint_error: float
    """Average endpoint error (AEE) of the stored flow: the mean distance between the stored and the
    true displacement of a pixel, in pixels of the store.
    """
    true_length: float
    """Average length of the true displacements in pixels of the store. It is the endpoint error
    that a flow field of zeros would have.
    """
    valid_fraction: float
    """Fraction of pixels whose true flow is known: those that are not on the outline of a shape, do
    not leave the image and are not covered by a shape in the next frame.
    """


def measure_errors(
    store: Store,
    dataset: Path,
    pairs_per_video: int = 6,
    progress: Callable[[int, int], object] | None = None,
) -> list[ClassError]:
    """Compare the flow of a store with the true flow of motion8.

    Args:
        store: Store that was extracted from motion8.
        dataset: Folder of the rendered dataset.
        pairs_per_video: Evenly spaced frame pairs to compare in each video.
        progress: Called after each video with the number of finished videos and the total.

    Returns:
        The error of each class that the store has.

    Raises:
        UsageError: If the store does not have the flow of all frames of motion8.
    """
    sums: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in CLASSES}
    for finished_videos, video_id in enumerate(store, 1):
        video, clip = store[video_id], load_clip(dataset, video_id)
        if video.num_flow != clip.config.frames - 1:
            raise UsageError(
                f"{store.location} has {video.num_flow} flow fields for {video_id}, but its "
                "video in "
                f"{dataset} has {clip.config.frames} frames, so {clip.config.frames - 1} were "
                "expected: extract motion8 with the stream flow and without --fps"
            )
        frames = np.linspace(0, video.num_flow - 1, min(pairs_per_video, video.num_flow))
        for t in np.unique(frames.round().astype(int)):
            sums[clip.label].append(compare_pair(video, int(t), *true_flow(clip, int(t))))
        if progress is not None:
            progress(finished_videos, len(store))
    errors = []
    for name, rows in sums.items():
        if rows:
            error, length, num_valid, num_pixels = np.sum(rows, axis=0).tolist()
            errors.append(
                ClassError(
                    name=name,
                    pairs=len(rows),
                    endpoint_error=error / max(1, num_valid),
                    true_length=length / max(1, num_valid),
                    valid_fraction=num_valid / num_pixels,
                )
            )
    return errors


def compare_pair(
    video: Video, t: int, flow: npt.NDArray[np.float32], is_valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Compare the flow of one frame pair with the true flow, at the size of the store.

    Args:
        video: Video of the store.
        t: Index of the first frame of the pair.
        flow: (H, W, 2) true flow in pixels of the rendered video.
        is_valid: (H, W) whether the true flow of a pixel is known.

    Returns:
        (4,) sum of the endpoint errors, sum of the lengths of the true flow, number of valid
        pixels, and number of pixels.
    """
    height, width = flow.shape[:2]
    size = (video.width, video.height)
    if (width, height) != size:
        scale = np.array([video.width / width, video.height / height], np.float32)
        flow = cv2.resize(flow, size, interpolation=cv2.INTER_NEAREST) * scale
        is_valid = cv2.resize(is_valid.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    error = np.linalg.norm(video.flow(t) - flow, axis=-1)[is_valid]
    length = np.linalg.norm(flow, axis=-1)[is_valid]
    return np.array([error.sum(), length.sum(), is_valid.sum(), is_valid.size], np.float64)
