"""Compute the features of shares of videos: prefetch images, run the network, write a shard.

    target      a video to compute (`Target`)
    share       the targets that a worker computes together, which are one task (`Share`)
    position    a moment of a video at which the recipe requests features
    start       the index of a position's first image. In a short video several positions have the
                same start, which is then computed once
    view        one crop of the images of a position. Each view gives one feature, which is one row
                of the shard
    chunk       consecutive starts of one video, and the images that they need (`VideoChunk` of
                flowkit/datasets/views.py); a short video is one chunk
    batch       the chunks of one forward pass, of one long video or of several short ones

A worker computes many shares. On a GPU, processes of its own prefetch images. While the network
computes one batch, the features of the batch before are written.

Features are flushed to the shard file at the end of each share, so that a killed worker loses at
most one share. A shard is rolled (it is committed, and another is started) at the end of a share,
once it has `roll_bytes` or is `roll_seconds` old.
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
from flowkit.errors import FlowkitError
from flowkit.extraction.internal_errors import check_disk, fail_internally
from flowkit.extraction.tasks import Outcome
from flowkit.store import ShardWriter, Store, VideoMeta
from flowkit.version import __version__
from train.features.embedder import Embedder
from train.features.embedding import convert_gpu_errors
from train.features.plan import Share, Target
from train.features.worker_settings import FeatureSettings

F32 = npt.NDArray[np.float32]
HALF_MAX = 65504.0  # the largest float16; features are always stored as float16
NOT_FINITE = (
    f"a feature is not a number, or is beyond ±{HALF_MAX:.0f}, the range of float16, the format in "
    "which features are stored: use other weights; if --precision was not float32, use float32"
)


class Worker:
    """Compute one share after another into shards of its own.

    It has the methods of `flowkit.extraction.worker.Worker`, which the driver calls.

    Args:
        setup: The settings of the worker.
        host: Name of the machine, recorded with each video. Default: the host name.
    """

    def __init__(self, setup: FeatureSettings, host: str | None = None) -> None:
        cv2.setNumThreads(1)
        torch.set_num_threads(setup.threads)
        self.setup = setup
        self.heartbeat = 0  # grows with every batch
        self.share = 0.0  # of a video; not known here, where videos are computed together
        self._host = host or socket.gethostname()
        self._stop = Event()
        self._store = Store(setup.root)
        self.embedder = Embedder(setup, self._stop)
        self._writer = ShardWriter(
            setup.root,
            setup.stream,
            recipe=setup.recipe,
            part=setup.part,  # the part (i, n) of the store's videos
            dimension=setup.recipe.features[setup.name].dimension,
            # No limits: `_must_commit` applies those of the setup, and only between shares.
            roll_bytes=1 << 62,
            roll_seconds=float("inf"),
        )
        self._rows = 0  # rows of the video being written
        self._replaced_ids: set[str] = set()  # videos that have features of an older source
        self._bytes = 0  # bytes since the last commit
        self._commit_time = time.monotonic()

    def warm_up(self) -> None:
        """Load the network.

        Raises:
            FlowkitError: Its weights are not those that the run was started with.
        """
        self.embedder.network()

    def stop(self) -> None:
        """Request that the share that another thread computes stops after its current batch."""
        self._stop.set()

    def extract(self, share: Share) -> tuple[Outcome, ...]:
        """Compute the features of a share.

        Args:
            share: The videos to compute.

        Returns:
            An outcome for each video, including those that failed.

        Raises:
            DiskFullError: The disk is full.
            StoreError: The store is damaged.
            FlowkitError: The cause is not a video but this machine, such as too little GPU memory.
        """
        outcomes: dict[str, Outcome] = {}
        self._replaced_ids = {target.id for target in share.targets if target.supersedes}
        self._extract_by_halves(share, outcomes)
        self._writer.flush()
        if self._must_commit():
            self._writer.commit()
            self._bytes, self._commit_time = 0, time.monotonic()
        stopped = (
            Outcome(id=target.id, status="stopped", reason="the run was interrupted")
            for target in share.targets
            if target.id not in outcomes
        )
        return tuple(replace(o, attempts=share.attempt) for o in (*outcomes.values(), *stopped))

    def _extract_by_halves(self, share: Share, outcomes: dict[str, Outcome]) -> None:
        """Compute a share. After an unexpected exception, compute its halves separately.

        A half that fails is halved again. Where a single video is left, the exception becomes the
        outcome of this video.
        """
        try:
            self._extract_videos(share.targets, outcomes)
        except FlowkitError:
            raise
        except Exception as error:
            check_disk(error, self.setup.root)
            unfinished = tuple(target for target in share.targets if target.id not in outcomes)
            if not unfinished:
                raise
            if len(unfinished) == 1:
                outcomes[unfinished[0].id] = describe_failure(unfinished[0].id, error)
                return
            for half in replace(share, targets=unfinished).halve():
                self._extract_by_halves(half, outcomes)

    def _extract_videos(self, targets: Sequence[Target], outcomes: dict[str, Outcome]) -> None:
        """Compute videos. Completed ones have an outcome even if an exception is raised later."""
        network = self.embedder.network()
        max_starts = max(1, self.setup.batch // network.views)
        is_flow = network.sampling.source == "flow"
        first_time = max(0, -self._store.flow_step) if is_flow else 0
        chunks = (
            chunk
            for target in targets
            for chunk in cut_video(
                target.id, target.available, network.sampling, max_starts, first_time
            )
        )
        batches = list(pack_chunks(chunks, max_starts))
        try:
            with (
                convert_gpu_errors(self.setup.batch),
                closing(self.embedder.compute(batches)) as computed,
            ):
                for batch, vectors, errors in computed:
                    self._write(batch, vectors, errors, outcomes)
                    self.heartbeat += 1
        finally:
            self._writer.abandon()
            self.embedder.drop_kept_images()

    def close(self) -> None:
        """Commit, then close the shard and the reader processes."""
        self._writer.close()
        self.embedder.close()

    def _must_commit(self) -> bool:
        age = time.monotonic() - self._commit_time
        return self._bytes >= self.setup.roll_bytes or age >= self.setup.roll_seconds

    # --- writing ---------------------------------------------------------------------------------

    def _write(
        self,
        batch: list[VideoChunk],
        vectors: F32,
        errors: dict[int, str],
        outcomes: dict[str, Outcome],
    ) -> None:
        """Append the features of a batch, and complete the videos whose last chunk is in it.

        Args:
            batch: The chunks.
            vectors: Features (starts of all chunks × views, dimension), in the order of the chunks.
            errors: Why a chunk could not be read, by its index in the batch.
            outcomes: Outcomes by video id; updated.
        """
        views, offset = self.embedder.network().views, 0
        for chunk_index, chunk in enumerate(batch):
            chunk_vectors = vectors[offset : offset + len(chunk.starts) * views]
            offset += len(chunk_vectors)
            if chunk.id in outcomes:
                continue  # an earlier chunk of this video failed
            kind, reason = "corrupt", errors.get(chunk_index)
            # The comparison is false for NaN too.
            if reason is None and not (np.abs(chunk_vectors) <= HALF_MAX).all():
                kind, reason = "not-finite", NOT_FINITE
            if reason is not None:
                self._writer.abandon()
                outcomes[chunk.id] = Outcome(id=chunk.id, status="failed", kind=kind, reason=reason)
                continue
            if chunk.is_first:
                self._writer.begin(chunk.id)
                self._rows = 0
            self._append(chunk, chunk_vectors, views)
            if chunk.is_last:
                self._writer.end(self._describe(chunk.id, self._rows))
                outcomes[chunk.id] = Outcome(id=chunk.id, status="done", features=self._rows)

    def _append(self, chunk: VideoChunk, vectors: F32, views: int) -> None:
        """Append the features of a chunk, ordered by position and then by view."""
        # The features of a start are written once for each position that has this start.
        start_indices = np.repeat(np.arange(len(chunk.starts)), chunk.counts)
        rows = (start_indices[:, None] * views + np.arange(views)).reshape(-1)
        if not len(rows):
            return
        self._writer.append_rows(
            vectors[rows],
            np.repeat(chunk.starts[start_indices], views).astype(np.int32),
            np.tile(np.arange(views, dtype=np.int16), len(start_indices)),
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
            frames=rows,  # the rows of this stream, which are features
            fps=0.0,  # features have no frame rate and no size
            width=0,
            height=0,
            provenance={
                "flowkit": __version__,
                "torch": torch.__version__,
                "host": self._host,
                "device": self.setup.device,
                "precision": self.setup.precision,
                "weights": str(self.embedder.network().path),
            },
            supersedes=id in self._replaced_ids,
        )


def describe_failure(id: str, error: Exception) -> Outcome:
    """Build the outcome of a video that failed for an unexpected reason."""
    if isinstance(error, MemoryError):
        return Outcome(id=id, status="failed", kind="memory", reason=f"not enough memory: {error}")
    return fail_internally(Outcome(id=id, status="failed"), error)
