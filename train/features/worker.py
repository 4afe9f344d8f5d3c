"""Compute the features of one share of videos: prefetch images, run the network, write a shard.

A worker lives for many shares. On a GPU, its own processes read images ahead, and batches are
filled from several videos. While the network computes one batch, the one before is written. Each
share is written out when it ends, so that a killed worker loses one share at most. The shard is
committed by age and size.
"""

import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from threading import Event

import cv2
import numpy as np
import numpy.typing as npt
import torch

from flowkit.datasets.views import VideoChunk, cut_video, pack_chunks
from flowkit.errors import DeviceError, FlowkitError
from flowkit.extraction.internal_errors import check_disk, fail_internally
from flowkit.extraction.tasks import Outcome
from flowkit.store import ShardWriter, Store, VideoMeta
from flowkit.version import __version__
from train.features.embedder import Embedder
from train.features.plan import Share, Target
from train.features.worker_settings import FeatureSettings

F32 = npt.NDArray[np.float32]
# Raised by PyTorch when the GPU fails; older versions lack this class.
DEVICE_ERRORS = tuple(filter(None, [getattr(torch, "AcceleratorError", None)]))
HALF_MAX = 65504.0  # largest float16; features are stored as float16


class Worker:
    """Computes one share after another into its own shards."""

    def __init__(self, setup: FeatureSettings, place: str | None = None) -> None:
        cv2.setNumThreads(1)
        torch.set_num_threads(setup.threads)
        self.setup = setup
        self.heartbeat = 0  # grows with every batch
        self._place = place or socket.gethostname()
        self._stop = Event()
        self._store = Store(setup.root)
        self._embedder = Embedder(setup, self._stop)
        self._writer = ShardWriter(
            setup.root,
            setup.stream,
            recipe=setup.recipe,
            part=setup.part,
            dimension=setup.recipe.features[setup.name].dimension,
            # Shards are committed between shares only, so a lost worker affects one shard.
            roll_bytes=1 << 62,
            roll_seconds=float("inf"),
        )
        self._rows = 0  # rows of the video being written
        self._superseding: set[str] = set()  # videos with features of an older source
        self._bytes = 0  # bytes since the last commit
        self._committed = time.monotonic()

    def warm_up(self) -> None:
        """Load the network.

        Raises:
            FlowkitError: Its weights are not those that the run began with.
        """
        self._embedder.network()

    def stop(self) -> None:
        """Ask a share that another thread computes to end after its current batch."""
        self._stop.set()

    def extract(self, share: Share) -> tuple[Outcome, ...]:
        """Compute a share.

        Args:
            share: The videos to compute.

        Returns:
            An outcome for each video, including those that failed.

        Raises:
            DiskFullError: The disk is full.
            StoreError: The store itself is at fault.
            FlowkitError: This machine is at fault, and no video.
        """
        outcomes: dict[str, Outcome] = {}
        self._superseding = {target.id for target in share.targets if target.supersedes}
        self._extract_parts(share, outcomes)
        self._writer.flush()
        if self._is_due():
            self.commit()
        stopped = [t.id for t in share.targets if t.id not in outcomes]
        late = (
            Outcome(id=id, status="stopped", reason="the run was asked to end") for id in stopped
        )
        return tuple(replace(o, attempts=share.attempt) for o in (*outcomes.values(), *late))

    def _extract_parts(self, share: Share, outcomes: dict[str, Outcome]) -> None:
        """Compute a share, halving it after an unexpected exception until a video is alone.

        That single video is then held to be at fault.
        """
        try:
            self._extract_videos(share.targets, outcomes)
        except FlowkitError:
            raise
        except Exception as error:
            check_disk(error, self.setup.root)
            left = tuple(target for target in share.targets if target.id not in outcomes)
            if not left:
                raise
            if len(left) == 1:
                outcomes[left[0].id] = describe_failure(left[0].id, error)
                return
            for half in replace(share, targets=left).make_retries():
                self._extract_parts(half, outcomes)

    def _extract_videos(self, targets: Sequence[Target], outcomes: dict[str, Outcome]) -> None:
        """Compute videos; complete ones have an outcome even if an exception is raised."""
        network = self._embedder.network()
        most = max(1, self.setup.batch // network.views)
        chunks = (
            chunk
            for target in targets
            for chunk in cut_video(target.id, target.available, network.sampling, most)
        )
        try:
            with closing(self._embedder.compute(list(pack_chunks(chunks, most)))) as computed:
                for batch, vectors, faults in computed:
                    self._write(batch, vectors, faults, outcomes)
                    self.heartbeat += 1
        except torch.OutOfMemoryError as error:
            raise FlowkitError(
                f"the GPU's memory does not suffice for batches of {self.setup.batch}; take a "
                "smaller --batch"
            ) from error
        except DEVICE_ERRORS as error:
            raise DeviceError(" ".join(str(error).split())) from error
        finally:
            self._writer.abandon()
            self._embedder.drop_overlap()

    def commit(self) -> int:
        """Commit the complete videos and return their number."""
        record = self._writer.commit()
        self._bytes, self._committed = 0, time.monotonic()
        return 0 if record is None else len(record.videos)

    def close(self) -> None:
        """Commit, then close the shard and the reader processes."""
        self._writer.close()
        self._embedder.close()

    def _is_due(self) -> bool:
        age = time.monotonic() - self._committed
        return self._bytes >= self.setup.roll_bytes or age >= self.setup.roll_seconds

    # --- writing ---------------------------------------------------------------------------------

    def _write(
        self,
        batch: list[VideoChunk],
        vectors: F32,
        faults: dict[int, str],
        outcomes: dict[str, Outcome],
    ) -> None:
        """Append the features of a batch, and end the videos that end with it."""
        views, place = self._embedder.network().views, 0
        for number, chunk in enumerate(batch):
            own = vectors[place : place + len(chunk.starts) * views]
            place += len(own)
            if chunk.id in outcomes:
                continue  # an earlier chunk of this video failed
            kind, fault = "corrupt", faults.get(number)
            if fault is None and not (np.abs(own) <= HALF_MAX).all():  # true for NaN too
                kind, fault = "not-finite", "features beyond float16: take other weights or float32"
            if fault is not None:
                self._writer.abandon()
                outcomes[chunk.id] = Outcome(
                    id=chunk.id, status="failed", kind=kind, reason=fault
                )  # fmt: skip
                continue
            if chunk.is_first:
                self._writer.begin(chunk.id)
                self._rows = 0
            self._append(chunk, own, views)
            if chunk.is_last:
                self._writer.end(self._describe(chunk.id, self._rows))
                outcomes[chunk.id] = Outcome(id=chunk.id, status="done", features=self._rows)

    def _append(self, chunk: VideoChunk, vectors: F32, views: int) -> None:
        """Append the features of a chunk, ordered by position and then by view."""
        # A start that several positions share is written once for each of them.
        times = np.repeat(np.arange(len(chunk.starts)), chunk.counts)
        rows = (times[:, None] * views + np.arange(views)).reshape(-1)
        if not len(rows):
            return
        self._writer.append_rows(
            vectors[rows],
            np.repeat(chunk.starts[times], views).astype(np.int32),
            np.tile(np.arange(views, dtype=np.int16), len(times)),
        )
        self._rows += len(rows)
        self._bytes += 2 * len(rows) * vectors.shape[1]

    def _describe(self, id: str, rows: int) -> VideoMeta:
        video = self._store[id]
        return VideoMeta(
            id=id,
            source=video.source,
            fingerprint=video.fingerprint,
            streams=(self.setup.stream,),
            frames=rows,
            fps=0.0,
            width=0,
            height=0,
            provenance={
                "flowkit": __version__,
                "torch": torch.__version__,
                "host": self._place,
                "device": self.setup.device,
                "precision": self.setup.precision,
                "weights": str(self._embedder.network().path),
            },
            supersedes=id in self._superseding,
        )


def describe_failure(id: str, error: Exception) -> Outcome:
    """Build the outcome of a video that failed for an unexpected reason."""
    if isinstance(error, MemoryError):
        return Outcome(id=id, status="failed", kind="memory", reason=f"not enough memory: {error}")
    return fail_internally(Outcome(id=id, status="failed"), error)
