"""One video → its rows in a shard: decode ahead in a thread, flow, encode, write.

A worker lives for many videos and owns one open shard per folder. It is plain Python: the
in-process executor calls it directly, Ray wraps it in an actor (actor.py), one for each core,
or as many as a GPU has lanes.

Memory is bounded on any video: frames flow through in chunks of a few, each frame is
dropped as soon as its JPEG is made, and the writer holds one batch of JPEGs.
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

# A chunk holds RGB, grey and float flow of its frames (3 + 1 + 8 bytes a pixel, and what
# the solver adds for one pair); three chunks are alive at once.
PIXEL_BYTES = 12
CHUNK_BYTES = 32 << 20
CHUNK_FRAMES = 16
# A GPU solves some 260 pairs side by side, and wants more at hand: its lanes keep about a
# thousand there, in chunks that let each lane's decoding and encoding overlap with the others'.
GPU_CHUNK_BYTES = 256 << 20
GPU_PAIRS = 1024
GPU_CHUNK_FRAMES = (32, 256)
SOUNDLESS = ("no-audio-stream", "broken-audio")


class WorkerSettings(WriterSettings, Protocol):
    """What a worker asks of its setup (worker_setup.py)."""

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
    """The run was asked to end while a video was under way."""


class Worker:
    """Extracts one video after another into shards of its own.

    ``place`` says where it runs, for the provenance of what it writes; ``occupancy`` is told
    what it is at, and shared by the workers of one GPU.
    """

    def __init__(
        self, setup: WorkerSettings, place: str | None = None, occupancy: GpuTimer | None = None
    ) -> None:
        cv2.setNumThreads(1)  # a worker is one core; OpenCV would take them all
        self.setup = setup
        self._place = place or socket.gethostname()
        self.beat = 0  # grows with every frame that was decoded or computed
        self._occupancy = occupancy or GpuTimer()
        self._stop = Event()
        self._writers: dict[str, ShardWriter] = {}

    def warm_up(self) -> None:
        """Load (the first time: compile) the kernels, so that no video waits for them."""
        recipe = self.setup.recipe.flow
        if recipe is not None and recipe.tvl1 is not None and self.setup.backend:
            frames = np.zeros((2, 16, 16), np.uint8)
            tvl1_video_quantized(frames, recipe.tvl1, recipe.bound, self.setup.backend)

    def stop(self) -> None:
        """Ask a video that is under way in another thread to end as soon as it can."""
        self._stop.set()

    def extract(self, job: ExtractionTask) -> Outcome:
        """Extract one video; every fault of the video is an outcome, not an exception.

        Raises DiskFullError, and StoreError where the store itself is at fault; what else flowkit
        raises on purpose is about the machine, and no video's fault either.
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
        except Exception as error:  # noqa: BLE001 (this is the place for what nobody foresaw)
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
        """Commit what is complete; returns the number of videos that count from now on."""
        records = [writer.commit() for writer in self._writers.values()]
        return sum(len(record.videos) for record in records if record is not None)

    def close(self) -> None:
        """Commit, and let go of the shards."""
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
        """Frames in lists of a bounded number of bytes."""
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
        """One row per frame. A row waits for its successor, with which its flow is computed."""
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
        """The flow fields within ``greys`` (T, H, W) as T−1 pairs of JPEGs."""
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
        """A video without sound gets an entry of no patches, so that it is not tried again.

        So does one whose track gives not one sample, as one that breaks midway keeps what came
        before: among 240,000 videos there are always some, and a training on several modalities
        would be refused for the sake of each. The summary and the store's records say which.
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
        """Book what is done within as time of ``stage``."""
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
    """How many frames to compute at once, at least 2."""
    if not uses_gpu(setup.backend):
        return max(2, min(CHUNK_FRAMES, CHUNK_BYTES // max(1, frame_bytes)))
    # Four, since a chunk is also copied on its way to the GPU.
    spare = psutil.virtual_memory().available // (4 * setup.lanes)
    fewest, most = GPU_CHUNK_FRAMES
    wanted = min(max(GPU_PAIRS // setup.lanes, fewest), most)
    return max(2, min(wanted, min(GPU_CHUNK_BYTES, spare) // max(1, frame_bytes)))
