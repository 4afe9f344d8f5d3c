"""Windows of untrimmed videos with many labels, each at its own time: Charades.

Sigurdsson et al., "Hollywood in Homes", ECCV 2016: 157 classes, some seven intervals a video, in
seconds. Training sees a random window of each video, with the classes that happen in it; testing
the whole video, with all of its classes.

The clock is the store's: frame t of a video is what is seen from t / fps to (t + 1) / fps, where
fps counts *stored* frames, whatever rate they were extracted at. (Where the source's own rate
varied and it was extracted without ``--fps``, this is its average, and times are as far off.)

    window of frames [a, b)     seconds [a / fps, b / fps)
    label [start, end]          in the window if start < b / fps and end ≥ a / fps

so a label that ends where a window begins is in it, and one that begins where it ends is not:
windows that tile a video never lose a label. Labels without a start, or an end, have none: they
go on to that end of the video.

The label of a window is the union over it, as SlowFast's of a clip; but a window is longer than
what its K snippets show, so a class may happen between two of them. Annotations that run over the
end of a video are taken as ending with it, as the dataset's authors advise (see `OVERRUN`).

    K  segments
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch

from flowkit.datasets.sampling import Times, draw, sample_randomly
from flowkit.datasets.snippets import Key, SnippetDataset
from flowkit.datasets.subsets import NAMED, STREAMS
from flowkit.datasets.transforms import Crops
from flowkit.errors import StoreError, UsageError
from flowkit.store import Store

F64 = npt.NDArray[np.float64]
OVERRUN = 2.0
"""Seconds that a label may end after its video. Charades' official ones do by up to 1.5 s, as if
their scale went to the rounded length and one more second (42K3H lasts 3.5 s, its c008 ends at
5.0 s); the rest is for stored videos that are some frames shorter than their containers say.
"""


class WindowDataset(SnippetDataset):
    """K snippets of a random window of each video, and the classes that happen in the window.

    Parameters
    ----------
    seconds: the length of a window, rounded to whole frames. A video that is shorter is one
        window, whole. A window has the frames of one snippet at least (``flow_length`` + 1, or 1
        for RGB alone) where the video does.
    others: as for `SnippetDataset`, but there is no ``many``: labels always are.

    A sample is that of `SnippetDataset`, with ``label`` (classes,) float32 of 0 and 1, all 0 where
    nothing happens. Training draws a window, then K random snippets of it whose frames and fields
    all lie in it; with fewer places than segments, neighbouring segments share one. Testing takes
    the whole video: its K evenly spaced snippets, and all its labels.

    Raises UsageError for ``seconds`` that are not positive, StoreError where a video has no frame
    rate, or a label is at a time that is not in its video; both also for testing.
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str,
        num_segments: int,
        *,
        seconds: float,
        flow_length: int = 5,
        streams: tuple[str, ...] = STREAMS,
        training: bool = False,
        crops: Crops | None = None,
        seed: int = 0,
        as_bytes: bool = False,
    ) -> None:
        if not 0 < seconds < math.inf:
            raise UsageError(f"expected windows of more than 0 seconds, got {seconds}")
        super().__init__(
            store,
            subset,
            num_segments,
            flow_length=flow_length,
            streams=streams,
            training=training,
            crops=crops,
            many=True,
            seed=seed,
            as_bytes=as_bytes,
        )
        self.seconds = seconds
        self._check_times()

    def window(self, key: int | Key) -> tuple[int, int]:
        """The frames [first, stop) that a sample is of."""
        epoch, index = (0, key) if isinstance(key, int) else key
        row = int(self.subset.rows[index])
        if not self.training:
            return 0, self._count_frames(row)
        return self._draw_window(row, draw(self.seed, epoch, row))

    def _sample(self, row: int, random: np.random.Generator) -> tuple[Times, torch.Tensor]:
        if not self.training:
            return super()._sample(row, random)
        first, stop = self._draw_window(row, random)
        starts = sample_randomly(self._count_starts(stop - first), self.num_segments, random)
        return first + starts, self._label(row, first, stop)

    def _draw_window(self, row: int, random: np.random.Generator) -> tuple[int, int]:
        """Frames [first, stop); every place is as likely. The first draw of a sample."""
        available = self._count_frames(row)
        least = self.flow_length + 1 if "flow" in self.subset.streams else 1
        length = min(available, max(least, round(self.seconds * self._fps(row))))
        first = int(random.integers(available - length + 1))
        return first, first + length

    def _label(self, row: int, first: int, stop: int) -> torch.Tensor:
        """The classes that happen in frames [first, stop), (classes,) float32 of 0 and 1."""
        start, end = first / self._fps(row), stop / self._fps(row)
        target = torch.zeros(len(self.subset.store.classes))
        for label in self.subset.store.index.value("labels", row):
            begins = label["start"] is None or label["start"] < end
            if begins and (label["end"] is None or label["end"] >= start):
                target[label["class"]] = 1
        return target

    def _fps(self, row: int) -> float:
        """Stored frames per second."""
        return float(self.subset.store.index.value("fps", row))

    def _check_times(self) -> None:
        """StoreError for videos without a frame rate, and for labels outside of their video."""
        rows, batch = self.subset.rows, self.subset.store.index.batch
        fps = batch.column("fps").to_numpy()[rows]
        self.subset.refuse(
            list(rows[~((fps > 0) & (fps < math.inf))]),
            "no frame rate, so labels at times mean nothing: extract or import them again",
        )
        lengths = np.zeros(batch.num_rows)
        lengths[rows] = np.array([self._count_frames(int(row)) for row in rows]) / fps
        column = batch.column("labels")
        owners, labels = pc.list_parent_indices(column).to_numpy(), column.flatten()
        length = lengths[owners]
        start = read_times(labels.field("start"), np.zeros(len(owners)))
        end = read_times(labels.field("end"), length)
        # Written so that NaN is wrong, too.
        right = (start >= 0) & (start < length) & (end >= start) & (end <= length + OVERRUN)
        wrong = np.flatnonzero(np.isin(owners, rows) & ~right)
        if not len(wrong):
            return
        videos, firsts = np.unique(owners[wrong], return_index=True)
        shown = []
        for row, i in zip(videos[:NAMED], wrong[firsts], strict=False):
            name = self.subset.store.classes[labels.field("class")[int(i)].as_py()]
            shown.append(
                f"{self.subset.store.index.id(int(row))!r} of {lengths[row]:.2f} s has {name!r} "
                f"from {start[i]:.2f} to {end[i]:.2f} s"
            )
        more = f"; and {len(videos) - NAMED} more" if len(videos) > NAMED else ""
        raise StoreError(
            f"{self.subset.store.path}: expected labels that begin in their video, do not end "
            f"before that, and end at most {OVERRUN:g} s after the video; {len(videos)} of "
            f"{len(rows)} videos of subset {self.subset.name!r} have others ("
            f"{'; '.join(shown)}{more}): correct the annotations, or extract videos that were "
            "cut again"
        )


def read_times(column: Any, missing: F64) -> F64:
    """The starts or ends of labels, with ``missing`` where they have none."""
    given = column.is_valid().to_numpy(zero_copy_only=False)
    return np.where(given, column.to_numpy(zero_copy_only=False), missing)
