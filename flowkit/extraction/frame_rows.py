"""Compute the rows that a store has for the frames of one video: JPEGs of RGB and of flow.

Frames are processed in chunks of bounded size, and each frame is dropped once its JPEG has been
encoded.
"""

from collections.abc import Callable, Iterable, Iterator
from threading import Event

import cv2
import numpy as np
import numpy.typing as npt

from flowkit.decode import FrameReader, VideoFrame
from flowkit.extraction.chunks import PIXEL_BYTES, choose_chunk_length
from flowkit.extraction.learned_flow import compute_quantized
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import WorkerSettings
from flowkit.flow import tvl1_video_quantized
from flowkit.recipe import FlowRecipe, RGBRecipe
from flowkit.store.format.jpeg import encode_grey, encode_rgb

U8 = npt.NDArray[np.uint8]
Row = dict[str, bytes | None]
"""Values of the columns of a row of ``frames``."""


class Stopped(Exception):
    """The run was requested to stop while a video was being extracted."""


class FrameRows:
    """Computes the rows of one video.

    Args:
        settings: The settings of the worker.
        streams: The streams to extract.
        timer: Timer of the stages ``encode`` and ``flow``.
        report_progress: Called with the number of frames that were decoded or whose flow was
            computed.
        stop: Set when the extraction is to end.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        streams: tuple[str, ...],
        timer: StageTimer,
        report_progress: Callable[[int], None],
        stop: Event,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._timer = timer
        self._report_progress = report_progress
        self._stop = stop

    def read_chunks(self, reader: FrameReader) -> Iterator[list[VideoFrame]]:
        """Group the frames into lists of bounded size in bytes."""
        frame_bytes = reader.width * reader.height * PIXEL_BYTES
        length = choose_chunk_length(frame_bytes, self._settings)
        chunk: list[VideoFrame] = []
        for frame in reader.read_frames():
            chunk.append(frame)
            self._report_progress(1)
            if len(chunk) == length:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def compute(self, chunks: Iterable[list[VideoFrame]]) -> Iterator[Row]:
        """Yield one row per frame, delayed by one frame: its flow needs the next frame.

        Raises:
            Stopped: The extraction is to end.
        """
        recipe, waiting = self._settings.recipe, False
        last_rgb: bytes | None = None
        last_grey: list[U8] = []
        for chunk in chunks:
            if self._stop.is_set():
                raise Stopped
            images: list[bytes | None] = [None] * len(chunk)
            if "rgb" in self._streams:
                assert recipe.rgb is not None
                images = self._encode_rgb(chunk, recipe.rgb)
            if waiting:
                images.insert(0, last_rgb)
            fields: list[tuple[bytes | None, bytes | None]] = [(None, None)] * (len(images) - 1)
            if "flow" in self._streams:
                assert recipe.flow is not None
                greys = [self._prepare_frame(frame.pixels, recipe.flow) for frame in chunk]
                greys = [*last_grey, *greys]
                fields = self._compute_flow(np.stack(greys), recipe.flow)
                last_grey = greys[-1:]
            for rgb, (flow_x, flow_y) in zip(images[:-1], fields, strict=True):
                yield {"rgb": rgb, "flow_x": flow_x, "flow_y": flow_y}
            last_rgb, waiting = images[-1], True
        if waiting:
            yield {"rgb": last_rgb, "flow_x": None, "flow_y": None}

    def _encode_rgb(self, chunk: list[VideoFrame], recipe: RGBRecipe) -> list[bytes | None]:
        """Encode frames as JPEGs, except those that keep the bytes of their file."""
        with self._timer.enter_stage("encode"):
            return [
                frame.jpeg or encode_rgb(frame.pixels, recipe.quality, recipe.subsampling)
                for frame in chunk
            ]

    def _compute_flow(
        self, greys: U8, recipe: FlowRecipe
    ) -> list[tuple[bytes | None, bytes | None]]:
        """Compute the flow between frames as pairs of JPEGs.

        Args:
            greys: The frames that `_prepare_frame` returned, (T, H, W) or (T, H, W, 3).
            recipe: How flow is computed.

        Returns:
            T − 1 pairs.
        """
        if len(greys) < 2:
            return []
        with self._timer.enter_stage("flow"):
            flow = self._solve_flow(greys, recipe)
        with self._timer.enter_stage("encode"):
            return [
                (encode_grey(q[..., 0], recipe.quality), encode_grey(q[..., 1], recipe.quality))
                for q in flow
            ]

    def _prepare_frame(self, pixels: U8, recipe: FlowRecipe) -> U8:
        """Convert an RGB frame to what the method of ``recipe`` reads: grey or RGB."""
        return pixels if recipe.is_learned else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)

    def _solve_flow(self, frames: U8, recipe: FlowRecipe) -> U8:
        """Compute quantized flow between the frames of ``frames``, uint8 (T − 1, H, W, 2)."""
        if recipe.is_learned:
            batches = []
            for batch in compute_quantized(self._settings, frames[:-1], frames[1:]):
                if self._stop.is_set():
                    raise Stopped
                self._report_progress(len(batch))  # a chunk may take minutes on a CPU
                batches.append(batch)
            return np.concatenate(batches)
        assert recipe.tvl1 is not None  # recipe_overrides.py refuses stores of imported flow
        backend = self._settings.backend
        flow = tvl1_video_quantized(frames, recipe.tvl1, recipe.bound, backend)
        self._report_progress(len(flow))
        return flow
