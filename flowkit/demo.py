"""Measure how far the flow of a motion8 store is from the true flow, for `flowkit demo`.

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
    aee: float
    """Average endpoint error of the stored flow, in pixels of the store."""
    motion: float
    """Average length of the true flow in pixels of the store, which is the error of zero flow."""
    valid: float
    """Fraction of pixels whose true flow is known: those that are not on an outline, do not leave
    the image and are not covered in the next frame.
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
    for done, id in enumerate(store, 1):
        video, clip = store[id], load_clip(dataset, id)
        if video.num_flow != clip.config.frames - 1:
            raise UsageError(
                f"{store.path} has {video.num_flow} flow fields of {id}, "
                f"motion8 {clip.config.frames - 1}; extract it with flow and without --fps"
            )
        times = np.linspace(0, video.num_flow - 1, min(pairs_per_video, video.num_flow))
        for t in np.unique(times.round().astype(int)):
            sums[clip.label].append(compare_pair(video, int(t), *true_flow(clip, int(t))))
        if progress is not None:
            progress(done, len(store))
    errors = []
    for name, rows in sums.items():
        if rows:
            total = np.sum(rows, axis=0)
            aee, motion, valid = (total[:3] / np.maximum(1, total[[2, 2, 3]])).tolist()
            pairs = len(rows)
            errors.append(ClassError(name=name, pairs=pairs, aee=aee, motion=motion, valid=valid))
    return errors


def compare_pair(
    video: Video, t: int, flow: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Compare the flow of one frame pair with the true flow, at the size of the store.

    Args:
        video: Video of the store.
        t: Time of the first frame of the pair.
        flow: (H, W, 2) true flow in pixels of the rendered video.
        valid: (H, W) whether the true flow is known.

    Returns:
        (4,) sum of the endpoint errors, sum of the lengths of the true flow, number of valid
        pixels, and number of pixels.
    """
    height, width = flow.shape[:2]
    size = (video.width, video.height)
    if (width, height) != size:
        scale = np.array([video.width / width, video.height / height], np.float32)
        flow = cv2.resize(flow, size, interpolation=cv2.INTER_NEAREST) * scale
        valid = cv2.resize(valid.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    error = np.linalg.norm(video.flow(t) - flow, axis=-1)[valid]
    motion = np.linalg.norm(flow, axis=-1)[valid]
    return np.array([error.sum(), motion.sum(), valid.sum(), valid.size], np.float64)
