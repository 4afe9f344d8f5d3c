"""Read views of videos at evenly spaced positions for feature extraction, decoding images once.

    positions ─ times of each ─ pieces of videos ─ batches ─ images ─ assemble → input of a network

Neighbouring snippets and clips share images. The datasets for training and testing (snippets.py)
decode them anew for each sample. Here a piece, which is a run of positions in one video, decodes
every image that it needs once, and an index tells which images make up each position. A video that
is too long for one piece keeps the images that its next piece needs again.

Positions and times are those of sampling.py: middles of segments, and a time beyond the last image
is the last image. If a video has fewer start positions than requested, neighbouring positions share
a start. It is computed once, and its feature is written once for each request.

    U  images    P  positions    L  images of a position    V  views: crops
    C H W  channels, height, width
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from flowkit.datasets.loading import make_tensor
from flowkit.datasets.sampling import (
    Times,
    count_positions,
    list_times,
    make_generator,
    sample_middles,
)
from flowkit.datasets.transforms import Crops, apply_crop
from flowkit.errors import CorruptError, UsageError
from flowkit.store import Store, Video
from flowkit.store.format.jpeg import decode_grey, decode_rgb
from flowkit.streams import STREAMS, StreamName

Int = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ViewSampling:
    """At which positions of a video features are computed, and from which images.

    Raises:
        UsageError: If a number is too small.
    """

    source: StreamName
    """Stream to read: ``rgb``, ``flow`` or ``audio``."""
    positions: int
    """Evenly spaced positions per video; 0 takes every possible position."""
    length: int = 1
    """Frames, flow fields or patches at each position, at least 1."""
    stride: int = 1
    """Distance between two images of a position, at least 1."""

    def __post_init__(self) -> None:
        """Check that no number is too small."""
        if self.positions < 0 or self.length < 1 or self.stride < 1:
            raise UsageError(
                "expected 0 or more positions of 1 or more images, 1 or more apart, got "
                f"{self.positions} of {self.length}, {self.stride} apart"
            )

    def sample_starts(self, available: int) -> tuple[Times, Int]:
        """Choose where the positions of a video start.

        Args:
            available: Frames, flow fields or patches of the video; may be 0.

        Returns:
            The distinct starts in ascending order, (P,) int64, and how many positions share each
            of them, (P,) int64.
        """
        if not available:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        total = count_positions(available, (self.length - 1) * self.stride + 1)
        chosen = sample_middles(total, self.positions) if self.positions else np.arange(total)
        starts, counts = np.unique(chosen, return_counts=True)
        return starts, counts

    def list_times(self, starts: Times, available: int) -> Times:
        """List the times of the images at each position.

        Args:
            starts: (P,) starts of the positions.
            available: Frames, flow fields or patches of the video.

        Returns:
            (P, L) int64 times.
        """
        rows = [list_times(int(t), self.length, available, self.stride) for t in starts]
        return np.stack(rows) if rows else np.empty((0, self.length), np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A run of positions of one video, and the images that they need."""

    id: str
    """Id of the video."""
    starts: Times
    """(P,) starts of the positions."""
    counts: Int
    """(P,) how many features are requested at each position."""
    times: Times
    """(U,) times of the images to decode."""
    kept: Int
    """Which images to keep from the piece before: indices into its kept and decoded images."""
    index: Int
    """(P, L) images of each position: indices into the kept images followed by the decoded ones."""
    first: bool
    """Whether this is the first piece of the video."""
    last: bool
    """Whether this is the last piece of the video."""


def cut_video(
    id: str, available: int, sampling: ViewSampling, max_positions: int
) -> Iterator[Piece]:
    """Cut a video into pieces so that no image is decoded twice.

    Args:
        id: Id of the video.
        available: Frames, flow fields or patches of the video; may be 0.
        sampling: Which positions to take.
        max_positions: Positions of a piece at most.

    Yields:
        At least one piece, in the order of time.
    """
    starts, counts = sampling.sample_starts(available)
    cached = np.empty(0, np.int64)
    for first in range(0, max(1, len(starts)), max_positions):
        piece_starts = starts[first : first + max_positions]
        times = sampling.list_times(piece_starts, available)
        # Starts ascend, so no later position needs an image before the first start of this piece.
        kept = np.flatnonzero(cached >= piece_starts[:1])
        new = np.setdiff1d(times, cached[kept])
        cached = np.concatenate([cached[kept], new])
        order = np.argsort(cached)
        yield Piece(
            id=id,
            starts=piece_starts,
            counts=counts[first : first + max_positions],
            times=new,
            kept=kept,
            index=order[np.searchsorted(cached, times, sorter=order)],
            first=first == 0,
            last=first + max_positions >= len(starts),
        )


def pack_pieces(pieces: Iterable[Piece], max_positions: int) -> Iterator[list[Piece]]:
    """Pack pieces into batches.

    Args:
        pieces: Pieces of videos, in the order of `cut_video`.
        max_positions: Positions of a batch at most.

    Yields:
        Batches of several whole videos, or of a single piece of a longer video.
    """
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        is_whole_video = piece.first and piece.last
        if batch and (not is_whole_video or size + len(piece.starts) > max_positions):
            yield batch
            batch, size = [], 0
        if not is_whole_video:
            yield [piece]
            continue
        batch.append(piece)
        size += len(piece.starts)
    if batch:
        yield batch


class ViewReader(Dataset[dict[str, Any]]):
    """A dataset that reads the images of pieces; its keys are the batches of `pack_pieces`.

    An item is a dict of

    - ``images``: the images of all pieces one after another, (U, V, C, H, W) uint8 as in the store,
      or (U, 1, 1, 96, 64) float32 for audio;
    - ``faults``: the reason why a piece could not be read, by its number in the batch. The images
      of such a piece are 0 and must not be used.

    Args:
        root: Path of the store. Each process opens it for itself, and finds videos by id.
        source: Stream to read.
        crops: How to crop, which decides the number of views and their size. Audio has one view.
    """

    def __init__(self, root: Path, source: StreamName, crops: Crops) -> None:
        """Keep the arguments; the store is opened at the first read."""
        self.root, self.source, self.crops = root, source, crops
        self._store: Store | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the open store, which each process opens for itself."""
        return {**self.__dict__, "_store": None}

    def __getitem__(self, pieces: list[Piece]) -> dict[str, Any]:
        """Read the images of one batch of pieces."""
        if self._store is None:
            self._store = Store(self.root)
        images = self._make_images(sum(len(piece.times) for piece in pieces))
        array = images.numpy()
        faults: dict[int, str] = {}
        start = 0
        for piece_index, piece in enumerate(pieces):
            out = array[start : start + len(piece.times)]
            start += len(piece.times)
            try:
                READERS[self.source](self._store[piece.id], piece.times.tolist(), self.crops, out)
            except CorruptError as error:
                out[...] = 0
                faults[piece_index] = " ".join(str(error).split())
        return {"images": images, "faults": faults}

    def _make_images(self, count: int) -> torch.Tensor:
        stream = STREAMS[self.source]
        if stream.shape is not None:
            return torch.empty((count, 1, stream.channels, *stream.shape))
        size = self.crops.size
        return make_tensor((count, count_views(self.crops), stream.channels, size, size))


def count_views(crops: Crops) -> int:
    """Count the views that crops make of one image."""
    return len(crops(crops.size, crops.size, make_generator(0, 0, 0)))


def read_rgb(video: Video, times: list[int], crops: Crops, out: npt.NDArray[Any]) -> None:
    """Read RGB frames.

    Args:
        video: Video of the store.
        times: Times of the frames, ascending.
        crops: How to crop.
        out: (times, V, 3, H, W) uint8 array to write to.
    """
    boxes = crops(video.height, video.width, make_generator(0, 0, 0))
    for t, views in zip(times, out, strict=True):
        image = decode_rgb(video.rgb_bytes(t))
        for crop, view in zip(boxes, views, strict=True):
            apply_crop([image], crop, view)


def read_flow(video: Video, times: list[int], crops: Crops, out: npt.NDArray[Any]) -> None:
    """Read flow fields.

    Args:
        video: Video of the store.
        times: Times of the flow fields, ascending.
        crops: How to crop.
        out: (times, V, 2, H, W) uint8 array to write to.
    """
    boxes = crops(video.height, video.width, make_generator(0, 0, 0))
    i = 0
    for first, length in find_runs(times):
        for jpegs in video.flow_jpegs(first, length):
            planes = [decode_grey(jpeg) for jpeg in jpegs]
            for crop, view in zip(boxes, out[i], strict=True):
                apply_crop(planes, crop, view, flow=True)
            i += 1


def read_audio(video: Video, times: list[int], crops: Crops, out: npt.NDArray[Any]) -> None:
    """Read log-mel patches.

    Args:
        video: Video of the store.
        times: Numbers of the patches, ascending.
        crops: Not used: a patch has one view.
        out: (times, 1, 1, 96, 64) float32 array to write to.
    """
    if times:
        out[:, 0, 0] = video.audio()[times]


READERS: dict[str, Callable[[Video, list[int], Crops, npt.NDArray[Any]], None]] = {
    "rgb": read_rgb,
    "flow": read_flow,
    "audio": read_audio,
}
"""The function that reads each source."""


def find_runs(times: list[int]) -> list[tuple[int, int]]:
    """Group ascending times into runs of consecutive times, each of which is one read.

    Args:
        times: Times in ascending order.

    Returns:
        The first time and the length of each run.
    """
    runs = np.split(times, np.flatnonzero(np.diff(times) != 1) + 1)
    return [(int(run[0]), len(run)) for run in runs if len(run)]


def assemble_views(images: torch.Tensor, index: torch.Tensor, clips: bool) -> torch.Tensor:
    """Assemble the images of each position into the input of a network.

    Args:
        images: (U, V, C, H, W) images.
        index: (P, L) int64 indices of the images of each position.
        clips: Whether the network takes clips.

    Returns:
        (P·V, C, L, H, W) for clips, else (P·V, L·C, H, W), where flow is in the order x_t, y_t,
        x_{t+1}, …. All views of the first position come first.
    """
    chosen = images[index].transpose(1, 2)  # P V L C H W
    if clips:
        return chosen.transpose(2, 3).flatten(0, 1)
    return chosen.flatten(2, 3).flatten(0, 1)
