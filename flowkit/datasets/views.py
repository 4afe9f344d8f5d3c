"""Read images at evenly spaced positions of videos, for feature extraction; each is decoded once.

    positions ─ times of each ─ chunks of videos ─ batches ─ images ─ assemble → input of a network

An image is an RGB frame, a flow field or an audio patch. A time is the index of an image in its
video, as in sampling.py. A position is a place where a snippet or clip is read whose features are
requested; its start is the time of its first image. (In sampling.py, positions are all times at
which one can start.) Each crop of its images is a view, and gives one feature.

Neighbouring snippets and clips share images. The datasets for training and testing (snippets.py)
decode them again for each sample. Here a chunk, which has consecutive starts of one video, decodes
every image that it needs once, and has the indices of the images of each start. If a video is too
long for one chunk, the images that the next chunk needs again are kept.

Starts are at the middles of segments, as in sampling.py, except for windows and with ``positions``
0, which means every possible start. A time beyond the last image is the last image. If a video has
fewer possible starts than positions are requested, neighbouring positions have the same start. The
features of a start are computed once, and are written once for each of its positions.

    U  images    P  starts    L  images of a position    V  views
    C H W  channels, height, width
"""

from collections.abc import Iterable, Iterator
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
from flowkit.datasets.stream_readers import READERS
from flowkit.datasets.transforms import CropStrategy
from flowkit.errors import CorruptError, UsageError
from flowkit.store import Store
from flowkit.streams import STREAMS, StreamName

Int = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PositionSampling:
    """At which positions of a video features are computed, and from which images.

    Raises:
        UsageError: If a number is too small.
    """

    source: StreamName
    """Stream of the store to read: ``rgb``, ``flow`` or ``audio``."""
    positions: int
    """Number of evenly spaced positions per video; 0 means every possible position."""
    length: int = 1
    """Number of images at each position, at least 1."""
    stride: int = 1
    """Distance between two images of a position in time, at least 1."""
    window_stride: int = 0
    """Frames from the start of one window to the start of the next; 0 means that positions are not
    the windows of the video.
    """
    window: int = 0
    """Frames of a window, ``stride`` apart, with ``window_stride``. Positions are the windows that
    lie in the video, from its first frame on; a video that is shorter has one. The last frame
    counts, although no flow leads from it: beyond the last image, images repeat it.
    """

    def __post_init__(self) -> None:
        """Check that no number is too small."""
        if (self.window > 0) != (self.window_stride > 0) or (self.window and self.positions):
            raise UsageError(
                "windows need a length and a stride of at least 1, and no number of positions; got "
                f"window {self.window}, window_stride {self.window_stride} and positions "
                f"{self.positions}"
            )
        if self.positions < 0 or self.length < 1 or self.stride < 1:
            raise UsageError(
                "expected positions of at least 0, and length and stride of at least 1, got "
                f"positions {self.positions}, length {self.length} and stride {self.stride}"
            )

    def sample_starts(self, available: int) -> tuple[Times, Int]:
        """Choose where the positions of a video start.

        Args:
            available: Number of images of the video; may be 0.

        Returns:
            The distinct starts in ascending order, (P,) int64, and how many positions share each
            of them, (P,) int64.
        """
        if not available:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        if self.window_stride:
            total = count_positions(self._count_frames(available), self._window_extent)
            starts = np.arange(0, total, self.window_stride)
            return starts, np.ones(len(starts), np.int64)
        total = count_positions(available, (self.length - 1) * self.stride + 1)
        chosen = sample_middles(total, self.positions) if self.positions else np.arange(total)
        starts, counts = np.unique(chosen, return_counts=True)
        return starts, counts

    def is_padded(self, available: int) -> bool:
        """Return whether a video has fewer frames than one window spans."""
        return available > 0 and self._count_frames(available) < self._window_extent

    @property
    def _window_extent(self) -> int:
        """Return the number of frames from the first to the last frame of a window."""
        return (self.window - 1) * self.stride + 1

    def _count_frames(self, available: int) -> int:
        """Count the frames of a video with this many images: flow leads from each to the next."""
        return available + (self.source == "flow")

    def list_image_times(self, starts: Times, available: int) -> Times:
        """List the times of the images at each start.

        Args:
            starts: (P,) times.
            available: Number of images of the video.

        Returns:
            (P, L) int64 times.
        """
        return list_times(starts, self.length, available, self.stride)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoChunk:
    """Consecutive starts in one video, and the images that they need.

    The list of images has first those kept from the chunk before, then those that this chunk
    decodes. ``image_indices`` refers to this list.

    Example: the positions of a video start at 0, 1, 2, 3 and have three consecutive images. A chunk
    of two starts decodes the images 0, 1, 2, 3. The next one has

    - ``starts`` [2, 3], which need the images 2, 3, 4 and 3, 4, 5;
    - ``kept`` [2, 3], the indices of images 2 and 3 in the list of the chunk before;
    - ``times`` [4, 5], so its list has the images 2, 3, 4, 5;
    - ``image_indices`` [[0, 1, 2], [1, 2, 3]].
    """

    id: str
    """Id of the video."""
    starts: Times
    """(P,) distinct starts in ascending order."""
    counts: Int
    """(P,) how many positions have each start."""
    times: Times
    """(U,) times of the images to decode, which are not among the kept ones."""
    kept: Int
    """Which images to keep from the chunk before: indices into its list of images."""
    image_indices: Int
    """(P, L) images of each start: indices into the list of images."""
    is_first: bool
    """Whether this is the first chunk of the video."""
    is_last: bool
    """Whether this is the last chunk of the video."""


def cut_video(
    id: str, available: int, sampling: PositionSampling, max_starts: int, first_time: int = 0
) -> Iterator[VideoChunk]:
    """Divide a video into chunks so that no image is decoded twice.

    Args:
        id: Id of the video.
        available: Number of images of the video; may be 0.
        sampling: The positions, and their images.
        max_starts: Upper limit of the number of starts in a chunk.
        first_time: Time of the first image; above 0 for flow that leads to an earlier frame.

    Yields:
        At least one chunk, in the order of time.
    """
    starts, counts = sampling.sample_starts(available)
    starts = starts + first_time
    image_list = np.empty(0, np.int64)  # times of the kept images, then of the decoded ones
    for begin in range(0, max(1, len(starts)), max_starts):
        chunk_starts = starts[begin : begin + max_starts]
        times = sampling.list_image_times(chunk_starts, first_time + available)
        # Starts ascend, so neither this chunk nor a later one needs images before its first start.
        kept = np.flatnonzero(image_list >= chunk_starts[:1])
        new_times = np.setdiff1d(times, image_list[kept])
        image_list = np.concatenate([image_list[kept], new_times])
        order = np.argsort(image_list)
        yield VideoChunk(
            id=id,
            starts=chunk_starts,
            counts=counts[begin : begin + max_starts],
            times=new_times,
            kept=kept,
            image_indices=order[np.searchsorted(image_list, times, sorter=order)],
            is_first=begin == 0,
            is_last=begin + max_starts >= len(starts),
        )


def pack_chunks(chunks: Iterable[VideoChunk], max_starts: int) -> Iterator[list[VideoChunk]]:
    """Pack chunks into batches.

    Args:
        chunks: Pieces of videos, in the order of `cut_video`.
        max_starts: Upper limit of the number of starts in a batch.

    Yields:
        Batches of several whole videos, or of a single chunk of a longer video.
    """
    batch: list[VideoChunk] = []
    size = 0
    for chunk in chunks:
        is_whole_video = chunk.is_first and chunk.is_last
        if batch and (not is_whole_video or size + len(chunk.starts) > max_starts):
            yield batch
            batch, size = [], 0
        if not is_whole_video:
            yield [chunk]
            continue
        batch.append(chunk)
        size += len(chunk.starts)
    if batch:
        yield batch


class ViewReader(Dataset[dict[str, Any]]):
    """A dataset that reads the images of chunks; its keys are the batches of `pack_chunks`.

    An item is a dict of

    - ``images``: the images of all chunks one after another, (U, V, C, H, W) uint8 as in the store,
      or (U, 1, 1, 96, 64) float32 for audio;
    - ``errors``: the reason why a chunk could not be read, by its index in the batch. The images of
      such a chunk are 0 and must not be used.

    Args:
        root: Path of the store. Each process opens it for itself, and finds videos by id.
        source: Stream of the store to read.
        crops: Which crops of an image to use as views. Audio is not cropped and has one view.
    """

    def __init__(self, root: Path, source: StreamName, crops: CropStrategy) -> None:
        """Keep the arguments; the store is opened at the first read."""
        self.root, self.source, self.crops = root, source, crops
        self._store: Store | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the open store, which each process opens for itself."""
        return {**self.__dict__, "_store": None}

    def __getitem__(self, chunks: list[VideoChunk]) -> dict[str, Any]:
        """Read the images of one batch of chunks."""
        if self._store is None:
            self._store = Store(self.root)
        self._prefetch(self._store, chunks)
        images = self._make_images(sum(len(chunk.times) for chunk in chunks))
        array = images.numpy()
        errors: dict[int, str] = {}
        start = 0
        for chunk_index, chunk in enumerate(chunks):
            out = array[start : start + len(chunk.times)]
            start += len(chunk.times)
            try:
                READERS[self.source](self._store[chunk.id], chunk.times.tolist(), self.crops, out)
            except CorruptError as error:
                out[...] = 0
                errors[chunk_index] = " ".join(str(error).split())
        return {"images": images, "errors": errors}

    def _prefetch(self, store: Store, chunks: list[VideoChunk]) -> None:
        """Request the images of all chunks side by side, if the store is remote."""
        if store.is_remote:
            rows = [(store.find(chunk.id), chunk.times.tolist()) for chunk in chunks]
            store.prefetch(
                (row, self.source, t, 1) for row, times in rows if row is not None for t in times
            )

    def _make_images(self, count: int) -> torch.Tensor:
        stream = STREAMS[self.source]
        if stream.shape is not None:
            return torch.empty((count, 1, stream.channels, *stream.shape))
        size = self.crops.size
        return make_tensor((count, count_views(self.crops), stream.channels, size, size))


def count_views(crops: CropStrategy) -> int:
    """Count the views of one image, which are its crops."""
    return len(crops(crops.size, crops.size, make_generator(0, 0, 0)))


def assemble_views(images: torch.Tensor, index: torch.Tensor, clips: bool) -> torch.Tensor:
    """Assemble the images of each start into the input of a network.

    Args:
        images: (U, V, C, H, W) images.
        index: (P, L) int64 indices of the images of each start.
        clips: Whether the network takes clips.

    Returns:
        (P·V, C, L, H, W) for clips, else (P·V, L·C, H, W), where flow is in the order x_t, y_t,
        x_{t+1}, …. All views of the first start come first.
    """
    chosen = images[index].transpose(1, 2)  # P V L C H W
    if clips:
        return chosen.transpose(2, 3).flatten(0, 1)
    return chosen.flatten(2, 3).flatten(0, 1)
