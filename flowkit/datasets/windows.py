"""Feed PyTorch with windows of untrimmed videos whose labels have times, such as Charades.

Sigurdsson et al., "Hollywood in Homes", ECCV 2016: 157 classes, about seven labelled intervals per
video, in seconds. Training uses a random window of each video, with the classes that occur in it.
Testing uses the whole video, with all of its classes.

The times of labels are in seconds, and frame t is shown from time[t] to time[t + 1]. These are the
presentation times that the store keeps, so labels fit videos whose frame rate varies, too. A video
without them, in a store of an older version, is taken to have a constant rate: time[t] = t / fps.

    window of frames [a, b)     seconds [time[a], time[b])
    label [start, end]          in the window if start < time[b] and end ≥ time[a]

A label that ends where a window starts is in the window, and a label that starts where the window
ends is not, so every label is in one of the windows that tile a video. A label without a start
lasts from the start of the video, and a label without an end lasts to its end.

The labels of a window are all that overlap it, as SlowFast does for a clip. A window is longer than
what its K snippets show, so a class may occur between two snippets only. A label that ends after
its video is treated as if it ended with it, as the authors of Charades advise (see `OVERRUN`).

    K  segments
"""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from flowkit.datasets.loading import Key, split_key
from flowkit.datasets.sampling import Times, make_generator, sample_randomly
from flowkit.datasets.snippets import SnippetDataset
from flowkit.datasets.subsets import MAX_LISTED_VIDEOS
from flowkit.datasets.transforms import CropStrategy
from flowkit.datasets.video_dataset import IMAGE_STREAMS
from flowkit.errors import StoreError, UsageError
from flowkit.store import Store
from flowkit.store.frame_times import has_constant_rate, list_bounds

F64 = npt.NDArray[np.float64]

OVERRUN = 2.0
"""Seconds by which a label may end after its video. Official labels of Charades do so by up to
1.5 s, as if they ended at the rounded length plus one second (video 42K3H lasts 3.5 s, its label
c008 ends at 5.0 s). The remaining 0.5 s allow for stored videos that are a few frames shorter than
their containers state.
"""


class WindowDataset(SnippetDataset):
    """K snippets of a random window of each video, and the classes that occur in the window.

    A sample is that of `SnippetDataset`, with ``label`` (classes,) float32 of 0 and 1, which is all
    0 where no class occurs. Training draws a window, then K random snippets whose frames and flow
    fields are all in the window; if fewer frames can start a snippet than there are segments,
    neighbouring segments share a start. Testing uses K evenly spaced snippets of the whole video,
    and all its labels.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index, or the row of the only video.
        num_segments: Number of segments K, at least 1.
        seconds: Length of a window in seconds, rounded to whole frames. A shorter video is one
            window. A window has at least the frames of one snippet (``flow_length`` + 1 if flow
            leads to the next frame, or 1 without flow), if the video has them.
        flow_length: Flow fields of a snippet, at least 1.
        streams: Streams to read: ``rgb``, ``flow`` or both.
        training: Whether to draw random windows, times and crops.
        crops: Which crops to use. Default: as for `SnippetDataset`.
        seed: Seed of all random choices.
        as_bytes: Whether images stay uint8 as in the store; see `SnippetDataset`.

    Raises:
        UsageError: If a name is unknown, or ``seconds`` is not positive.
        StoreError: If a video has no frame rate, lacks a stream, or has a label outside of it.

    Example:
        >>> dataset = WindowDataset("stores/charades", "train", 3, seconds=10, training=True)
        >>> dataset[0]["label"].shape
        torch.Size([157])
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str | int,
        num_segments: int,
        *,
        seconds: float,
        flow_length: int = 5,
        streams: tuple[str, ...] = IMAGE_STREAMS,
        training: bool = False,
        crops: CropStrategy | None = None,
        seed: int = 0,
        as_bytes: bool = False,
    ) -> None:
        """Open the store, and check the videos of the subset and the times of their labels."""
        if not 0 < seconds < math.inf:
            raise UsageError(f"expected windows of more than 0 seconds, got {seconds}")
        super().__init__(
            store, subset, num_segments, flow_length=flow_length, streams=streams,
            training=training, crops=crops, multi_label=True, seed=seed, as_bytes=as_bytes,
        )  # fmt: skip
        self.seconds = seconds
        self._check_times()

    def window(self, key: int | Key) -> tuple[int, int]:
        """Return the window of a sample.

        Args:
            key: Epoch and index, or an index alone for epoch 0.

        Returns:
            The first frame of the window, and the frame after its last one.
        """
        epoch, index = split_key(key)
        row = int(self.subset.rows[index])
        if not self.training:
            return 0, self.count_frames(row)
        return self._draw_window(row, make_generator(self.seed, epoch, row))[:2]

    def sample_times(self, row: int, random: np.random.Generator) -> tuple[Times, torch.Tensor]:
        """Choose where the snippets start, (K, 1), and return the classes of the window."""
        if not self.training:
            return super().sample_times(row, random)
        first, stop, bounds = self._draw_window(row, random)
        starts = sample_randomly(self.count_starts(stop - first), self.num_segments, random)
        times = first + self.first_time + starts[:, None]
        return times, self._label_window(row, float(bounds[first]), float(bounds[stop]))

    def _draw_window(self, row: int, random: np.random.Generator) -> tuple[int, int, F64]:
        """Draw frames [first, stop), where all first frames are equally likely.

        This must be the first use of a sample's generator: `window` relies on that.

        Returns:
            ``first``, ``stop``, and the times at which frames start, (frames + 1,) in seconds, of
            which the last one is the end of the video.
        """
        video, available = self.subset.store[row], self.count_frames(row)
        times, fps = video.times(), video.fps
        shortest = self.flow_length + self.flow_distance if "flow" in self.subset.streams else 1
        if has_constant_rate(times, fps):  # the same windows as if the store had no times
            length = min(available, max(shortest, round(self.seconds * fps)))
            first = int(random.integers(available - length + 1))
            return first, first + length, np.arange(available + 1) / fps
        bounds = list_bounds(times, fps)
        return *draw_window(bounds, self.seconds, shortest, random), bounds

    def _label_window(self, row: int, start: float, end: float) -> torch.Tensor:
        """Find the classes that occur in these seconds, (classes,) float32 of 0 and 1."""
        target = torch.zeros(len(self.subset.store.classes))
        for label in self.subset.store.index.value("labels", row):
            has_started = label["start"] is None or label["start"] < end
            if has_started and (label["end"] is None or label["end"] >= start):
                target[label["class"]] = 1
        return target

    def _check_times(self) -> None:
        """Check that all videos have a frame rate, and that all labels are within their video.

        Raises:
            StoreError: If not.
        """
        rows, batch = self.subset.rows, self.subset.store.index.batch
        fps = batch.column("fps").to_numpy()[rows]
        self.subset.raise_if_any(
            rows[~((fps > 0) & (fps < math.inf))],
            "no frame rate, which labels with times need: extract them again, or, if they were "
            "imported from another tool's folders, import them again",
        )
        lengths = np.zeros(batch.num_rows)
        lengths[rows] = np.array([self.count_frames(int(row)) for row in rows]) / fps
        if "duration" in batch.schema.names:
            durations = batch.column("duration").to_numpy(zero_copy_only=False)  # NaN for null
            lengths = np.where(np.isnan(durations), lengths, durations)
        column = batch.column("labels")
        label_rows, labels = pc.list_parent_indices(column).to_numpy(), column.flatten()
        length = lengths[label_rows]
        start = pc.fill_null(labels.field("start"), 0.0).to_numpy()
        end = pc.coalesce(labels.field("end"), pa.array(length)).to_numpy()
        # The comparisons are written so that NaN is invalid, too.
        is_valid = (start >= 0) & (start < length) & (end >= start) & (end <= length + OVERRUN)
        invalid = np.flatnonzero(np.isin(label_rows, rows) & ~is_valid)
        if not len(invalid):
            return
        videos, firsts = np.unique(label_rows[invalid], return_index=True)
        classes = labels.field("class").to_pylist()
        shown = [
            f"{self.subset.store.index.id(int(row))!r} of {lengths[row]:.2f} s has "
            f"{self.subset.store.classes[classes[i]]!r} from {start[i]:.2f} to {end[i]:.2f} s"
            for row, i in zip(videos[:MAX_LISTED_VIDEOS], invalid[firsts], strict=False)
        ]
        unlisted = len(videos) - MAX_LISTED_VIDEOS
        more = f"; and {unlisted} more" if unlisted > 0 else ""
        raise StoreError(
            f"{self.subset.store.location}: expected labels that start in their video, do not end "
            f"before they start, and end at most {OVERRUN:g} s after the video; {len(videos)} of "
            f"{len(rows)} videos of subset {self.subset.name!r} have others ("
            f"{'; '.join(shown)}{more}): correct the annotations, or extract truncated videos again"
        )


def draw_window(
    bounds: F64, seconds: float, shortest: int, random: np.random.Generator
) -> tuple[int, int]:
    """Draw a window of a video whose frame rate varies.

    Args:
        bounds: (T + 1,) times at which the frames start and the last one ends, ascending.
        seconds: Length of the window, which ends at the nearest start of a frame.
        shortest: Smallest number of its frames, if the video has them.
        random: Generator of the sample.

    Returns:
        The first frame, any from which ``seconds`` remain until the end of the video (else 0), and
        the frame after the last one.
    """
    frames = len(bounds) - 1
    latest = int(np.searchsorted(bounds, bounds[-1] - seconds, side="right")) - 1
    first = int(random.integers(max(0, min(latest, frames - shortest)) + 1))
    stop = int(np.argmin(abs(bounds - (bounds[first] + seconds))))
    return first, min(frames, max(first + shortest, stop))
