"""The demo's judgement: how far a store of motion8 is from the true flow, class by class.

The error is that of the whole way: H.264, resize, TV-L1, quantization, JPEG.
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
    """Over the valid pixels of ``pairs`` frame pairs of one class, in pixels of the store.

    ``aee``: average endpoint error of the store's flow. ``motion``: average length of the
    true flow, which is the error of a store that says nothing moves. ``valid``: share of
    pixels with a true flow (no outline, not leaving, not covered).
    """

    name: str
    pairs: int
    aee: float
    motion: float
    valid: float


def measure_errors(
    store: Store,
    dataset: Path,
    pairs_per_video: int = 6,
    progress: Callable[[int, int], object] | None = None,
) -> list[ClassError]:
    """Compare a store with the motion8 folder ``dataset`` that it was extracted from.

    Takes ``pairs_per_video`` evenly spaced frame pairs of every video. Raises UsageError where
    the store has no flow of motion8, or not all of its frames.
    """
    sums: dict[str, list[tuple[float, float, int, int]]] = {name: [] for name in CLASSES}
    for done, id in enumerate(store, 1):
        video, clip = store[id], load_clip(dataset, id)
        if video.num_flow != clip.config.frames - 1:
            raise UsageError(
                f"{store.path} has {video.num_flow} flow fields of {id}, "
                f"motion8 {clip.config.frames - 1}; extract it with flow and without --fps"
            )
        times = np.linspace(0, video.num_flow - 1, min(pairs_per_video, video.num_flow))
        for t in np.unique(times.round().astype(int)):
            sums[clip.label].append(compare(video, int(t), *true_flow(clip, int(t))))
        if progress is not None:
            progress(done, len(store))
    return [summarize(name, rows) for name, rows in sums.items() if rows]


def compare(
    video: Video, t: int, flow: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]
) -> tuple[float, float, int, int]:
    """(Σ endpoint error, Σ |true flow|, valid pixels, pixels) of one pair, at the store's size."""
    height, width = flow.shape[:2]
    size = (video.width, video.height)
    if (width, height) != size:
        scale = np.array([video.width / width, video.height / height], np.float32)
        flow = cv2.resize(flow, size, interpolation=cv2.INTER_NEAREST) * scale
        valid = cv2.resize(valid.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    error = np.linalg.norm(video.flow(t) - flow, axis=-1)[valid]
    motion = np.linalg.norm(flow, axis=-1)[valid]
    return float(error.sum()), float(motion.sum()), int(valid.sum()), valid.size


def summarize(name: str, rows: list[tuple[float, float, int, int]]) -> ClassError:
    error, motion = sum(row[0] for row in rows), sum(row[1] for row in rows)
    valid, pixels = sum(row[2] for row in rows), sum(row[3] for row in rows)
    return ClassError(
        name=name,
        pairs=len(rows),
        aee=error / max(1, valid),
        motion=motion / max(1, valid),
        valid=valid / max(1, pixels),
    )
