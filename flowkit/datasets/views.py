"""Views of videos at evenly spaced positions, each stored image decoded once: for features.

    positions ─ times of each ─ pieces of videos ─ batches ─ images ─ assemble → a network's input

Neighbouring snippets and clips have images in common. The datasets for training and testing
(datasets.py) decode them for each sample anew; here a piece of a video brings every image that it
needs once, and an index says of which images each position is made. A video that is too long to
be one piece keeps, from piece to piece, the images that are needed again.

Positions and their times are those of sampling.py: middles of segments, and a time beyond the last
is the last. With fewer places than positions, neighbouring ones share a place: it is computed once,
and its row written as often as it is asked for.

    U  images    P  positions    L  images of a position    V  views: crops    C H W  as elsewhere
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from flowkit.datasets.sampling import Times, count_positions, draw, list_times, sample_middles
from flowkit.datasets.snippets import make_tensor
from flowkit.datasets.transforms import Crops, apply_crop
from flowkit.errors import CorruptError, UsageError
from flowkit.store import Store, Video
from flowkit.store.format.jpeg import decode_grey, decode_rgb
from flowkit.store.format.schema import PATCH_SHAPE

Source = Literal["rgb", "flow", "audio"]
CHANNELS: Mapping[str, int] = {"rgb": 3, "flow": 2, "audio": 1}
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ViewSampling:
    """Where features are computed, and of which images.

    ``positions`` evenly spaced ones of a video, 0 for every one. At each: ``length`` frames, flow
    fields or patches of ``source``, ``stride`` apart.
    """

    source: Source
    positions: int
    length: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        if self.positions < 0 or self.length < 1 or self.stride < 1:
            raise UsageError(
                "expected 0 or more positions of 1 or more images, 1 or more apart, got "
                f"{self.positions} of {self.length}, {self.stride} apart"
            )

    def sample(self, available: int) -> tuple[Times, Int]:
        """The places in a video of so many images, ascending, and how many positions each is."""
        if not available:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        places = count_positions(available, (self.length - 1) * self.stride + 1)
        chosen = sample_middles(places, self.positions) if self.positions else np.arange(places)
        starts, counts = np.unique(chosen, return_counts=True)
        return starts, counts

    def list_times(self, starts: Times, available: int) -> Times:
        """The times of the images at each place, (P, L)."""
        rows = [list_times(int(t), self.length, available, self.stride) for t in starts]
        return np.stack(rows) if rows else np.empty((0, self.length), np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Some positions of one video.

    ``starts`` (P,): where they are; ``counts`` (P,): how often each is asked for. ``times`` (U,):
    images to decode. ``kept``: which images of the piece before, of its kept and decoded ones,
    stay. ``index`` (P, L): the images of each position, among the kept and then the decoded ones.
    """

    id: str
    starts: Times
    counts: Int
    times: Times
    kept: Int
    index: Int
    first: bool
    last: bool


def cut_video(id: str, available: int, sampling: ViewSampling, most: int) -> Iterator[Piece]:
    """A video of ``available`` images in pieces of at most ``most`` positions; at least one piece.

    No image is decoded for two pieces.
    """
    starts, counts = sampling.sample(available)
    held = np.empty(0, np.int64)
    for first in range(0, max(1, len(starts)), most):
        own = starts[first : first + most]
        times = sampling.list_times(own, available)
        # Places ascend, so no later one looks before the first of these.
        kept = np.flatnonzero(held >= own[0]) if len(own) else np.empty(0, np.int64)
        new = np.setdiff1d(times, held[kept])
        held = np.concatenate([held[kept], new])
        order = np.argsort(held)
        yield Piece(
            id=id,
            starts=own,
            counts=counts[first : first + most],
            times=new,
            kept=kept,
            index=order[np.searchsorted(held, times, sorter=order)],
            first=first == 0,
            last=first + most >= len(starts),
        )


def pack_pieces(pieces: Iterable[Piece], most: int) -> Iterator[list[Piece]]:
    """Whole videos together, of at most ``most`` positions; each piece of a longer one alone."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        whole = piece.first and piece.last
        if batch and (not whole or size + len(piece.starts) > most):
            yield batch
            batch, size = [], 0
        if not whole:
            yield [piece]
            continue
        batch.append(piece)
        size += len(piece.starts)
    if batch:
        yield batch


class ViewReader(Dataset[dict[str, Any]]):
    """Reads what pieces ask for: its keys are lists of pieces, as `pack_pieces` gives them.

    An item is a dict of ``images``, (U, V, C, H, W) uint8 as the store has them (audio: (U, 1, 1,
    96, 64) float32), those of all pieces one after another; and ``faults``: why a piece could not
    be read, by its number. Its images are 0 then, and not to be used.

    Parameters
    ----------
    root: the store. Each process opens it for itself, and finds videos by id.
    crops: how many views there are, and of which size; audio has one, whole.
    """

    def __init__(self, root: Path, source: Source, crops: Crops) -> None:
        self.root, self.source, self.crops = root, source, crops
        self._store: Store | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}

    def __getitem__(self, pieces: list[Piece]) -> dict[str, Any]:
        if self._store is None:
            self._store = Store(self.root)
        images = self._make_images(sum(len(piece.times) for piece in pieces))
        rows = images.numpy()
        faults: dict[int, str] = {}
        place = 0
        for number, piece in enumerate(pieces):
            own = rows[place : place + len(piece.times)]
            place += len(piece.times)
            try:
                READERS[self.source](self._store[piece.id], piece.times.tolist(), self.crops, own)
            except CorruptError as error:
                own[...] = 0
                faults[number] = " ".join(str(error).split())
        return {"images": images, "faults": faults}

    def _make_images(self, count: int) -> torch.Tensor:
        if self.source == "audio":
            return torch.empty((count, 1, 1, *PATCH_SHAPE))
        size = self.crops.size
        return make_tensor((count, count_views(self.crops), CHANNELS[self.source], size, size))


def count_views(crops: Crops) -> int:
    """Crops of an image."""
    return len(crops(crops.size, crops.size, draw(0, 0, 0)))


def read_rgb(video: Video, times: list[int], crops: Crops, out: npt.NDArray[Any]) -> None:
    boxes = crops(video.height, video.width, draw(0, 0, 0))
    for t, views in zip(times, out, strict=True):
        image = decode_rgb(video.rgb_bytes(t))
        for crop, view in zip(boxes, views, strict=True):
            apply_crop([image], crop, view)


def read_flow(video: Video, times: list[int], crops: Crops, out: npt.NDArray[Any]) -> None:
    boxes = crops(video.height, video.width, draw(0, 0, 0))
    place = 0
    for first, length in find_runs(times):
        for jpegs in video.flow_jpegs(first, length):
            planes = [decode_grey(jpeg) for jpeg in jpegs]
            for crop, view in zip(boxes, out[place], strict=True):
                apply_crop(planes, crop, view, flow=True)
            place += 1


def read_audio(video: Video, times: list[int], crops: Crops, out: npt.NDArray[Any]) -> None:
    if times:
        out[:, 0, 0] = video.audio()[times]


READERS = {"rgb": read_rgb, "flow": read_flow, "audio": read_audio}


def find_runs(times: list[int]) -> list[tuple[int, int]]:
    """Ascending times as (first, length) of consecutive ones: each is one read."""
    runs: list[tuple[int, int]] = []
    for t in times:
        if runs and t == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((t, 1))
    return runs


def assemble_views(images: torch.Tensor, index: torch.Tensor, clips: bool) -> torch.Tensor:
    """Images (U, V, C, H, W) and which of them make each position (P, L) → a network's input.

    (P·V, L·C, H, W), of flow x_t, y_t, x_t+1, …; of clips (P·V, C, L, H, W). All views of the
    first position come first.
    """
    chosen = images[index].transpose(1, 2)  # P V L C H W
    if clips:
        return chosen.transpose(2, 3).flatten(0, 1)
    return chosen.flatten(2, 3).flatten(0, 1)
