"""Extract one video into the rows of a shard: decode, compute flow, encode, write.

A worker extracts many videos and has one open shard for each folder. It does not depend on Ray:
the in-process executor calls it directly, and with Ray it runs inside an actor (actor.py), one
worker for each CPU core, or one for each lane of a GPU. A background thread decodes in advance.

Memory is bounded for videos of any length. Frames are processed in chunks, each frame is dropped
once its JPEG has been encoded, and the writer holds one batch of JPEGs.
"""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import psutil

from flowkit.decode import VideoReader
from flowkit.decode.audio import log_mel_patches
from flowkit.errors import FlowkitError, VideoError
from flowkit.extraction.actors import uses_gpu
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.internal_errors import check_disk, fail_internally, is_about
from flowkit.extraction.prefetch import Prefetcher
from flowkit.extraction.source import check_unchanged, fingerprint_source
from flowkit.extraction.tasks import ExtractionTask, Outcome, Seconds, WriterSettings
from flowkit.flow import tvl1_video_quantized
from flowkit.path_text import printable_path
from flowkit.recipe import FlowRecipe
from flowkit.store import Fingerprint, ShardWriter, VideoMeta
from flowkit.store.format.jpeg import encode_grey, encode_rgb
from flowkit.version import __version__

U8 = npt.NDArray[np.uint8]

# A chunk holds RGB, grey and float flow of its frames (3 + 1 + 8 bytes per pixel, plus the
# solver's memory for one pair). Three chunks exist at once.
PIXEL_BYTES = 12
CHUNK_BYTES = 32 << 20
CHUNK_FRAMES = 16
# A GPU solves about 260 pairs in parallel and needs more of them queued: its lanes together keep
# about a thousand, in chunks whose decoding and encoding overlap with those of other lanes.
GPU_CHUNK_BYTES = 256 << 20
GPU_PAIRS = 1024
GPU_CHUNK_FRAMES = (32, 256)
SOUNDLESS = ("no-audio-stream", "broken-audio")


class WorkerSettings(WriterSettings, Protocol):
    """The settings that a worker needs (worker_setup.py provides them)."""

    @property
    def backend(self) -> str:
        """Return the name of the optical-flow backend."""

    @property
    def lanes(self) -> int:
        """Return how many workers share a process and its GPU."""

    @property
    def min_frames(self) -> int:
        """Return the smallest number of frames that a video may have."""

    @property
    def open_video(self) -> Callable[..., VideoReader]:
        """Return the function that opens a video, such as :class:`VideoReader`."""


class Stopped(Exception):
    """The run was asked to end while a video was being extracted."""


class Worker:
    """Extract one video after another into shards that only this worker writes.

    Args:
        setup: The settings of the worker.
        place: Name of the machine, recorded with each video; None for the host name.
        occupancy: Timer that all workers of one GPU share; None for a timer of its own.
    """

    def __init__(
        self, setup: WorkerSettings, place: str | None = None, occupancy: GpuTimer | None = None
    ) -> None:
        cv2.setNumThreads(1)  # a worker has one core; OpenCV would use all
        self.setup = setup
        self._place = place or socket.gethostname()
        self.beat = 0  # grows with every frame that was decoded or computed
        self._occupancy = occupancy or GpuTimer()
        self._stop = Event()
        self._writers: dict[str, ShardWriter] = {}

    def warm_up(self) -> None:
        """Load or compile the kernels, so that the first video does not wait for them."""
        recipe = self.setup.recipe.flow
        if recipe is not None and recipe.tvl1 is not None and self.setup.backend:
            frames = np.zeros((2, 16, 16), np.uint8)
            tvl1_video_quantized(frames, recipe.tvl1, recipe.bound, self.setup.backend)

    def stop(self) -> None:
        """Ask the extraction that runs in another thread to end soon."""
        self._stop.set()

    def extract(self, job: ExtractionTask) -> Outcome:
        """Extract one video.

        If the video cannot be extracted, the outcome tells why; no exception is raised.

        Args:
            job: The video, and the streams to extract.

        Returns:
            The outcome: done, failed or stopped.

        Raises:
            DiskFullError: The disk is full.
            StoreError: The store cannot be written.
            FlowkitError: The machine, not the video, is at fault.
        """
        outcome = self._try(job)
        return replace(outcome, attempts=job.attempt, gpu=self._occupancy.take())

    def _try(self, job: ExtractionTask) -> Outcome:
        try:
            with self._occupancy.at("video"):
                return self._extract(job)
        except VideoError as error:
            return self._failed(job, error.kind, str(error))
        except Stopped:
            return Outcome(id=job.id, status="stopped", reason="the run was asked to end")
        except MemoryError as error:
            return self._failed(
                job, "memory", f"{printable_path(job.source)}: {error or 'not enough memory'}"
            )
        except FlowkitError:
            raise
        except Exception as error:  # noqa: BLE001 (unforeseen errors become failures of the video)
            if is_about(error, job.source):
                return self._failed(
                    job, "unreadable", f"{printable_path(job.source)} cannot be read: {error}"
                )
            check_disk(error, self.setup.root)
            return fail_internally(Outcome(id=job.id, status="failed"), error)
        finally:
            for writer in self._writers.values():
                writer.abandon()

    def commit(self) -> int:
        """Commit all complete videos and return their number."""
        records = [writer.commit() for writer in self._writers.values()]
        return sum(len(record.videos) for record in records if record is not None)

    def close(self) -> None:
        """Commit all complete videos and close the shards."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _failed(self, job: ExtractionTask, kind: str, reason: str) -> Outcome:
        return Outcome(id=job.id, status="failed", kind=kind, reason=reason)

    def _extract(self, job: ExtractionTask) -> Outcome:
        fingerprint = fingerprint_source(job.source)
        outcome = Outcome(id=job.id, status="done")
        if set(job.streams) & {"rgb", "flow"}:
            outcome = self._extract_frames(job, fingerprint)
        if "audio" in job.streams:
            outcome = self._extract_audio(job, fingerprint, outcome)
        return outcome

    def _extract_frames(self, job: ExtractionTask, fingerprint: Fingerprint) -> Outcome:
        setup, spent = self.setup, Seconds()
        writer = self._writer("frames")
        with setup.open_video(job.source, setup.recipe.resize, setup.recipe.fps) as reader:
            writer.begin(job.id)
            frames = written = 0
            with Prefetcher(self._read_chunks(reader)) as chunks:
                for row in self._compute_rows(chunks, job.streams, spent):
                    with self._at("write", spent):
                        writer.append(**row)
                    frames += 1
                    written += sum(len(image) for image in row.values() if image)
            spent.decode, spent.wait = chunks.working, chunks.waiting
            warnings = tuple(reader.warnings)
            self._check_count(job, frames, warnings)
            check_unchanged(job.source, fingerprint)
            with self._at("write", spent):
                writer.end(
                    VideoMeta(
                        id=job.id,
                        source=printable_path(job.source),
                        fingerprint=fingerprint,
                        streams=tuple(name for name in ("rgb", "flow") if name in job.streams),
                        frames=frames,
                        fps=reader.frame_rate,
                        width=reader.width,
                        height=reader.height,
                        warnings=warnings,
                        provenance=self._provenance(spent),
                        supersedes=job.supersedes,
                    )
                )
        return Outcome(
            id=job.id,
            status="done",
            frames=frames,
            pairs=frames - 1 if "flow" in job.streams else 0,
            bytes=written,
            warnings=warnings,
            seconds=spent,
        )

    def _read_chunks(self, reader: VideoReader) -> Iterator[list[U8]]:
        """Group the frames into lists of bounded size in bytes."""
        frame_bytes = reader.width * reader.height * PIXEL_BYTES
        length = choose_chunk(frame_bytes, self.setup)
        chunk: list[U8] = []
        for frame in reader:
            chunk.append(frame)
            self.beat += 1
            if len(chunk) == length:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _compute_rows(
        self, chunks: Iterable[list[U8]], streams: tuple[str, ...], spent: Seconds
    ) -> Iterator[dict[str, bytes | None]]:
        """Yield one row per frame, delayed by one frame: its flow needs the next frame."""
        recipe, waiting = self.setup.recipe, False
        last_rgb: bytes | None = None
        last_grey: list[U8] = []
        for chunk in chunks:
            if self._stop.is_set():
                raise Stopped
            images: list[bytes | None] = [None] * len(chunk)
            if "rgb" in streams:
                assert recipe.rgb is not None
                with self._at("encode", spent):
                    quality, subsampling = recipe.rgb.quality, recipe.rgb.subsampling
                    images = [encode_rgb(frame, quality, subsampling) for frame in chunk]
            if waiting:
                images.insert(0, last_rgb)
            fields: list[tuple[bytes | None, bytes | None]] = [(None, None)] * (len(images) - 1)
            if "flow" in streams:
                assert recipe.flow is not None
                greys = [*last_grey, *(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in chunk)]
                fields = self._compute_flow(np.stack(greys), recipe.flow, spent)
                last_grey = greys[-1:]
            for rgb, (flow_x, flow_y) in zip(images[:-1], fields, strict=True):
                yield {"rgb": rgb, "flow_x": flow_x, "flow_y": flow_y}
            last_rgb, waiting = images[-1], True
        if waiting:
            yield {"rgb": last_rgb, "flow_x": None, "flow_y": None}

    def _compute_flow(
        self, greys: U8, recipe: FlowRecipe, spent: Seconds
    ) -> list[tuple[bytes | None, bytes | None]]:
        """Compute the flow between the frames of ``greys`` (T, H, W) as T − 1 pairs of JPEGs."""
        if len(greys) < 2:
            return []
        assert recipe.tvl1 is not None  # recipe_overrides.py refuses stores of imported flow
        with self._at("flow", spent):
            flow = tvl1_video_quantized(greys, recipe.tvl1, recipe.bound, self.setup.backend)
        self.beat += len(flow)
        with self._at("encode", spent):
            return [
                (encode_grey(q[..., 0], recipe.quality), encode_grey(q[..., 1], recipe.quality))
                for q in flow
            ]

    def _check_count(self, job: ExtractionTask, frames: int, warnings: tuple[str, ...]) -> None:
        need = max(self.setup.min_frames, 2 if "flow" in job.streams else 1)
        if frames < need:
            said = f" ({warnings[-1]})" if warnings else ""
            raise VideoError(
                "too-short",
                f"{printable_path(job.source)} has {frames} frame{'' if frames == 1 else 's'}, "
                f"expected at least {need}{said}",
            )
        if job.frames is not None and frames != job.frames:
            raise VideoError(
                "changed",
                f"{printable_path(job.source)} gives {frames} frames, the store holds "
                f"{job.frames}; extract it again with --update",
            )

    def _extract_audio(
        self, job: ExtractionTask, fingerprint: Fingerprint, outcome: Outcome
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
            with self._occupancy.at("audio"):
                audio = log_mel_patches(job.source, recipe)
            patches, warnings = audio.patches, tuple(audio.warnings)
        except VideoError as error:
            if error.kind not in SOUNDLESS:
                raise
            patches, warnings = np.empty((0, recipe.patch, recipe.mels), np.float32), (str(error),)
        writer = self._writer("audio")
        writer.begin(job.id)
        for patch in patches:
            writer.append(patch=patch)
            self.beat += 1
        check_unchanged(job.source, fingerprint)
        spent = replace(outcome.seconds, audio=time.perf_counter() - start)
        writer.end(
            VideoMeta(
                id=job.id,
                source=printable_path(job.source),
                fingerprint=fingerprint,
                streams=("audio",),
                frames=len(patches),
                fps=1 / (recipe.hop_seconds * recipe.patch),
                width=0,
                height=0,
                warnings=warnings,
                provenance=self._provenance(spent),
                supersedes=job.supersedes,
            )
        )
        return replace(
            outcome,
            seconds=spent,
            warnings=outcome.warnings + warnings,
            bytes=outcome.bytes + patches.nbytes,
        )

    def _writer(self, folder: str) -> ShardWriter:
        if folder not in self._writers:
            setup = self.setup
            self._writers[folder] = ShardWriter(
                setup.root,
                folder,
                recipe=setup.recipe,
                part=setup.part,
                roll_bytes=setup.roll_bytes,
                roll_seconds=setup.roll_seconds,
            )
        return self._writers[folder]

    @contextmanager
    def _at(self, stage: str, spent: Seconds) -> Iterator[None]:
        """Add the time spent in the context to ``stage``."""
        start = time.perf_counter()
        with self._occupancy.at(stage):
            yield
        setattr(spent, stage, getattr(spent, stage) + time.perf_counter() - start)

    def _provenance(self, spent: Seconds) -> dict[str, Any]:
        return {
            "flowkit": __version__,
            "backend": self.setup.backend,
            "host": self._place,
            "flow_seconds": round(spent.flow, 3),
            "decode_seconds": round(spent.decode, 3),
        }


def choose_chunk(frame_bytes: int, setup: WorkerSettings) -> int:
    """Choose the number of frames per chunk.

    Args:
        frame_bytes: Memory that one frame needs, in bytes.
        setup: The settings of the worker.

    Returns:
        At least 2.
    """
    if not uses_gpu(setup.backend):
        return max(2, min(CHUNK_FRAMES, CHUNK_BYTES // max(1, frame_bytes)))
    # Four chunks per lane rather than three, since a chunk is also copied for the GPU.
    spare = psutil.virtual_memory().available // (4 * setup.lanes)
    fewest, most = GPU_CHUNK_FRAMES
    wanted = min(max(GPU_PAIRS // setup.lanes, fewest), most)
    return max(2, min(wanted, min(GPU_CHUNK_BYTES, spare) // max(1, frame_bytes)))
