"""Extract one video into the rows of a shard: decode, compute flow, encode, write.

A worker extracts many videos and has one open shard for each folder. It does not depend on Ray:
the in-process executor calls it directly, and with Ray it runs inside an actor (actor.py), one
worker for each CPU core, or several threads ("lanes") that share a GPU. A background thread decodes
in advance.

Memory is bounded for videos of any length: frames are processed in chunks (frame_rows.py), and the
writer holds one batch of JPEGs.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import cv2
import numpy as np

from flowkit.decode import FrameReader, VideoReader
from flowkit.decode.audio import log_mel_patches
from flowkit.errors import VideoError
from flowkit.extraction.chunks import read_chunks
from flowkit.extraction.flow_solver import warm_up_flow
from flowkit.extraction.frame_rows import FrameRows
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.learned_flow import check_frame_size
from flowkit.extraction.prefetch import Prefetcher
from flowkit.extraction.readers import estimate_frames, open_reader
from flowkit.extraction.source import (
    check_may_have_sound,
    check_unchanged,
    fingerprint_source,
)
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import ExtractionTask, Outcome, Seconds, WorkerSettings
from flowkit.extraction.video_failures import convert_failures
from flowkit.path_text import printable_path
from flowkit.store import Fingerprint, ShardWriter, VideoMeta
from flowkit.store.frame_times import compute_duration
from flowkit.streams import find_rows
from flowkit.version import __version__

SOUND_FAILURES = ("no-audio-stream", "broken-audio")
"""Kinds of failure after which a video is stored without sound."""


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings(WorkerSettings):
    """The settings of the workers of an extraction."""

    min_frames: int = 2
    """Smallest number of frames that a video may have."""
    open_video: Callable[..., FrameReader] = VideoReader
    """Function that opens a video, called as ``open_video(path, resize, fps)``."""


class Worker:
    """Extract one video after another into shards that only this worker writes.

    Args:
        setup: The settings of the worker.
        host: Name of the machine, recorded with each video; None for the host name.
        gpu_timer: Timer that all workers of one GPU share; None for a timer of its own.
    """

    def __init__(
        self, setup: ExtractionSettings, host: str | None = None, gpu_timer: GpuTimer | None = None
    ) -> None:
        cv2.setNumThreads(1)  # a worker has one core; OpenCV would use all
        self.setup = setup
        self._host = host or socket.gethostname()
        self.heartbeat = 0  # grows with every frame that was decoded or computed
        self.share = 0.0  # of the frames of the current video, by its container; 0 if unknown
        self._gpu_timer = gpu_timer or GpuTimer()
        self._stop = Event()
        self._writers: dict[str, ShardWriter] = {}

    def warm_up(self) -> None:
        """Load or compile the kernels, so that the first video does not wait for them."""
        warm_up_flow(self.setup)

    def stop(self) -> None:
        """Ask the extraction that runs in another thread to end soon."""
        self._stop.set()

    def extract(self, task: ExtractionTask) -> Outcome:
        """Extract one video.

        If the video cannot be extracted, the outcome tells why; no exception is raised.

        Args:
            task: The video, and the streams to extract.

        Returns:
            The outcome: done, failed or stopped.

        Raises:
            DiskFullError: The disk is full.
            StoreError: The store cannot be written.
            FlowkitError: The machine, not the video, is the cause.
        """

        def work() -> Outcome:
            with self._gpu_timer.enter_stage("video"):
                return self._extract(task)

        self.share = 0.0
        try:
            outcome = convert_failures(task, self.setup.root, work)
        finally:
            for writer in self._writers.values():
                writer.abandon()
        return replace(outcome, attempts=task.attempt, gpu=self._gpu_timer.pop_times())

    def close(self) -> None:
        """Commit all complete videos and close the shards."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _extract(self, task: ExtractionTask) -> Outcome:
        stored = task.stored
        fingerprint = stored.fingerprint if stored else fingerprint_source(task.source)
        outcome = Outcome(id=task.id, status="done")
        if set(task.streams) & {"rgb", "flow"}:
            outcome = self._extract_frames(task, fingerprint)
        if "audio" in task.streams:
            outcome = self._extract_audio(task, fingerprint, outcome)
        return outcome

    def _extract_frames(self, task: ExtractionTask, fingerprint: Fingerprint) -> Outcome:
        setup, timer = self.setup, StageTimer(self._gpu_timer)
        writer = self._open_writer("frames")
        rows = FrameRows(setup, task.streams, timer, self._report_progress, self._stop)
        with open_reader(task, setup.root, setup.recipe, setup.open_video) as reader:
            if "flow" in task.streams:
                check_frame_size(setup.recipe.flow, task.source, reader.width, reader.height)
            writer.begin(task.id)
            frames = written = 0
            expected = task.frames or estimate_frames(reader)
            last_time = -1  # no frame has a time
            with Prefetcher(read_chunks(reader, setup, self._report_progress)) as chunks:
                for row in rows.compute(chunks):
                    with timer.enter_stage("write"):
                        writer.append(**row)
                    frames += 1
                    self.share = frames / expected if expected else 0.0
                    last_time = max(last_time, -1 if row["time"] is None else row["time"])
                    written += sum(len(v) for v in row.values() if isinstance(v, bytes))
            spent = timer.seconds
            spent.decode, spent.wait = chunks.working, chunks.waiting
            warnings = tuple(reader.warnings)
            flow = setup.recipe.flow if "flow" in task.streams else None
            self._check_count(task, frames, warnings)
            if task.stored is None:
                check_unchanged(task.source, fingerprint)
            duration = 0.0
            if last_time >= 0:
                duration = compute_duration(last_time / 1e6, frames, reader.frame_rate)
            with timer.enter_stage("write"):
                meta = self._make_meta(
                    task,
                    fingerprint,
                    spent,
                    streams=tuple(name for name in ("rgb", "flow") if name in task.streams),
                    frames=frames,
                    fps=reader.frame_rate,
                    width=reader.width,
                    height=reader.height,
                    warnings=warnings,
                    duration=duration or None,
                    motion=None if flow is None else rows.motion.summarize(flow.bound),
                )
                writer.end(meta)
        return Outcome(
            id=task.id,
            status="done",
            frames=frames,
            pairs=0 if flow is None else len(find_rows("flow", frames, flow.step)),
            bytes=written,
            warnings=warnings,
            # A reader of images knows no pixel aspect ratio.
            has_square_pixels=getattr(reader, "pixel_aspect_ratio", 1) == 1,
            seconds=spent,
        )

    def _report_progress(self, frames: int) -> None:
        """Show the driver that the worker is alive."""
        self.heartbeat += frames

    def _check_count(self, task: ExtractionTask, frames: int, warnings: tuple[str, ...]) -> None:
        flow = self.setup.recipe.flow if "flow" in task.streams else None
        min_frames = max(self.setup.min_frames, 1 if flow is None else abs(flow.step) + 1)
        source, count = printable_path(task.source), f"{frames} frame{'' if frames == 1 else 's'}"
        if frames < min_frames:
            cause = f" ({warnings[-1]})" if warnings else ""
            if flow is not None and flow.step != 1:
                cause = f" for flow with step {flow.step}{cause}"
            message = f"{source} has {count}, expected at least {min_frames}{cause}"
            raise VideoError("too-short", message)
        if task.frames is not None and frames != task.frames:
            advice = "extract it again with --update"
            message = f"{source} gives {count}, the store holds {task.frames}; {advice}"
            raise VideoError("changed", message)

    def _extract_audio(
        self, task: ExtractionTask, fingerprint: Fingerprint, outcome: Outcome
    ) -> Outcome:
        """Extract the log-mel patches of the audio track.

        A video without an audio track, or whose track cannot be decoded at all, is stored with
        zero patches and a warning. It is then not tried again, and does not keep a large dataset
        from being used for training on several modalities. A track that breaks midway keeps the
        patches before the damage.
        """
        recipe = self.setup.recipe.audio
        assert recipe is not None
        start = time.perf_counter()
        warnings: tuple[str, ...]
        try:
            with self._gpu_timer.enter_stage("audio"):
                check_may_have_sound(task.source)
                audio = log_mel_patches(task.source, recipe)
            patches, warnings = audio.patches, tuple(audio.warnings)
        except VideoError as error:
            if error.kind not in SOUND_FAILURES:
                raise
            patches, warnings = np.empty((0, recipe.patch, recipe.mels), np.float32), (str(error),)
        writer = self._open_writer("audio")
        writer.begin(task.id)
        for patch in patches:
            writer.append(patch=patch)
            self.heartbeat += 1
        check_unchanged(task.source, fingerprint)
        spent = replace(outcome.seconds, audio=time.perf_counter() - start)
        meta = self._make_meta(
            task,
            fingerprint,
            spent,
            streams=("audio",),
            frames=len(patches),
            fps=1 / (recipe.hop_seconds * recipe.patch),
            width=0,
            height=0,
            warnings=warnings,
        )
        writer.end(meta)
        return replace(
            outcome,
            seconds=spent,
            warnings=outcome.warnings + warnings,
            bytes=outcome.bytes + patches.nbytes,
        )

    def _open_writer(self, folder: str) -> ShardWriter:
        if folder not in self._writers:
            setup = self.setup
            self._writers[folder] = ShardWriter(
                setup.root,
                folder,
                recipe=setup.recipe,
                part=setup.part,  # the part (i, n) of the dataset's videos
                roll_bytes=setup.roll_bytes,
                roll_seconds=setup.roll_seconds,
            )
        return self._writers[folder]

    def _make_meta(
        self, task: ExtractionTask, fingerprint: Fingerprint, spent: Seconds, **stream_values: Any
    ) -> VideoMeta:
        """Make the metadata of a video; ``stream_values`` are the fields that differ by stream."""
        provenance = {
            "flowkit": __version__,
            "backend": self.setup.backend,
            "host": self._host,
            "flow_seconds": round(spent.flow, 3),
            "decode_seconds": round(spent.decode, 3),
        }
        return VideoMeta(
            id=task.id,
            source=task.stored.source if task.stored else printable_path(task.source),
            fingerprint=fingerprint,
            provenance=provenance,
            supersedes=task.supersedes,
            **stream_values,
        )
