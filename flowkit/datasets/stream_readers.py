"""Read the images of a video for feature extraction, with one function for each stream.

H W  height, width    V  views: the crops of an image
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.datasets.sampling import make_generator
from flowkit.datasets.transforms import CropStrategy, apply_crop
from flowkit.store import Video
from flowkit.store.format.jpeg import decode_grey, decode_rgb


def read_rgb(video: Video, times: list[int], crops: CropStrategy, out: npt.NDArray[Any]) -> None:
    """Read RGB frames.

    Args:
        video: Video of the store.
        times: Times of the frames, ascending.
        crops: Which crops to use.
        out: (times, V, 3, H, W) uint8 array to write to.
    """
    boxes = crops(video.height, video.width, make_generator(0, 0, 0))  # unused by fixed crops
    for t, views in zip(times, out, strict=True):
        frame = decode_rgb(video.rgb_bytes(t))
        for crop, view in zip(boxes, views, strict=True):
            apply_crop([frame], crop, view)


def read_flow(video: Video, times: list[int], crops: CropStrategy, out: npt.NDArray[Any]) -> None:
    """Read flow fields.

    Args:
        video: Video of the store.
        times: Times of the flow fields, ascending.
        crops: Which crops to use.
        out: (times, V, 2, H, W) uint8 array to write to.
    """
    boxes = crops(video.height, video.width, make_generator(0, 0, 0))  # unused by fixed crops
    field_index = 0
    for start, length in find_runs(times):
        for jpegs in video.flow_jpegs(start, length):
            components = [decode_grey(jpeg) for jpeg in jpegs]  # x and y
            for crop, view in zip(boxes, out[field_index], strict=True):
                apply_crop(components, crop, view, flow=True)
            field_index += 1


def read_audio(video: Video, times: list[int], crops: CropStrategy, out: npt.NDArray[Any]) -> None:
    """Read log-mel patches.

    Args:
        video: Video of the store.
        times: Indices of the patches, ascending.
        crops: Not used: a patch has one view.
        out: (times, 1, 1, 96, 64) float32 array to write to.
    """
    if times:
        out[:, 0, 0] = video.audio()[times]


READERS: dict[str, Callable[[Video, list[int], CropStrategy, npt.NDArray[Any]], None]] = {
    "rgb": read_rgb,
    "flow": read_flow,
    "audio": read_audio,
}
"""The function that reads each stream."""


def find_runs(times: list[int]) -> list[tuple[int, int]]:
    """Group ascending times into runs of consecutive times, each of which is one read.

    Args:
        times: Times in ascending order.

    Returns:
        The first time and the length of each run.
    """
    runs = np.split(times, np.flatnonzero(np.diff(times) != 1) + 1)
    return [(int(run[0]), len(run)) for run in runs if len(run)]
