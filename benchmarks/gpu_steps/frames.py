"""Grey test frames of the pack: written where videos can be decoded, read on the GPU machine.

``frames.npz`` holds one array for each size, named ``256x256`` (width × height), of shape
(2·N, H, W): the first frames of N pairs, then the second ones. Neighbouring pairs are from
different clips, so that they converge at different times, as in a mixed batch.
"""

import zipfile
from itertools import chain, zip_longest
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from gpu_steps.plan import SIZES

PAIRS = 40  # at least the 32 that are compared with numba; 6 MiB compressed

Grey = npt.NDArray[np.uint8]
Pair = tuple[Grey, Grey]


def write_frames(path: Path, clips: list[Path]) -> int:
    """Decode pairs of all clips at each size, and write them; returns the number of pairs."""
    from clips import read_pairs

    arrays = {}
    for width, height in SIZES:
        each = -(-PAIRS // len(clips))
        columns = [read_pairs(clip, each, height, width) for clip in clips]
        turns = zip_longest(*columns)
        pairs = [pair for pair in chain.from_iterable(turns) if pair is not None][:PAIRS]
        stack = [first for first, _ in pairs] + [second for _, second in pairs]
        arrays[f"{width}x{height}"] = np.stack(stack)
    # As np.savez_compressed, with a better compression: a third less.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, frames in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, frames, allow_pickle=False)
    return len(pairs)


def read_pairs_of_size(data: Path, width: int, height: int, count: int) -> list[Pair]:
    """Read pairs of one size from the pack, at most `count`."""
    with np.load(data / "frames.npz") as arrays:
        frames = arrays[f"{width}x{height}"]
    half = len(frames) // 2
    return [(frames[i], frames[half + i]) for i in range(min(count, half))]


def shrink_pairs(pairs: list[Pair], side: int) -> list[Pair]:
    """Make pairs small enough for Triton's interpreter."""
    return [tuple(cv2.resize(frame, (side, side)) for frame in pair) for pair in pairs]


def write_rendered_sequence(folder: Path, side: int = 256) -> None:
    """Write two frames of motion8 and their true flow in Middlebury's files."""
    from flowkit.flow import write_flo
    from flowkit.synthetic.motion8 import Motion8, Renderer, make_clips, true_flow

    folder.mkdir(parents=True)
    config = Motion8(videos=8, test_videos=0, frames=8, width=side, height=side)
    clip = next(iter(make_clips(config)))
    frames = [Renderer(clip).frame(t) for t in (3, 4)]
    for number, frame in zip((10, 11), frames, strict=True):
        cv2.imwrite(str(folder / f"frame{number}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
    flow, valid = true_flow(clip, 3)
    flow[~valid] = 1e10  # how Middlebury marks what is unknown
    write_flo(folder / "flow10.flo", flow)
