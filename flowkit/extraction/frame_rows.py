"""Compute the rows that a store has for the frames of one video: JPEGs of RGB and of flow.

Frames are processed in chunks of bounded size, and each frame is dropped once its JPEG has been
encoded.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.decode import VideoFrame
from flowkit.extraction.flow_solver import FlowSolver, Stopped
from flowkit.extraction.frame_pairs import FramePairs
from flowkit.extraction.motion import MotionHistogram
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import WorkerSettings
from flowkit.recipe import FlowRecipe, RGBRecipe
from flowkit.store.format.jpeg import encode_grey, encode_rgb

U8 = npt.NDArray[np.uint8]
Row = dict[str, Any]
"""Values of the columns of a row of ``frames``: JPEGs, and the time in microseconds."""


class FrameRows:
    """Computes the rows of one video.

    Args:
        settings: The settings of the worker.
        streams: The streams to extract.
        timer: Timer of the stages ``encode`` and ``flow``.
        report_progress: Called with the number of frames that were decoded or whose flow was
            computed.
        stop: Set when the extraction is to end.

    Attributes:
        motion: Counts of the displacements of the flow that was computed so far.
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
        self._solver = FlowSolver(settings, report_progress, stop)
        self.motion = MotionHistogram()

    def compute(self, chunks: Iterable[list[VideoFrame]]) -> Iterator[Row]:
        """Yield one row per frame, delayed until its flow is computed.

        Flow to a later frame needs that frame, so as many rows wait as the step has frames.

        Raises:
            Stopped: The extraction is to end.
        """
        recipe = self._settings.recipe
        waiting: deque[Row] = deque()
        pairs = FramePairs(recipe.flow.step if recipe.flow is not None else 1)
        for chunk in chunks:
            if self._stop.is_set():
                raise Stopped
            images: list[bytes | None] = [None] * len(chunk)
            if "rgb" in self._streams:
                assert recipe.rgb is not None
                images = self._encode_rgb(chunk, recipe.rgb)
            for frame, image in zip(chunk, images, strict=True):
                waiting.append({"rgb": image, "time": frame.time})
            fields: list[tuple[bytes, bytes]] = []
            if "flow" in self._streams:
                assert recipe.flow is not None
                frames = [self._solver.prepare_frame(frame.pixels) for frame in chunk]
                first, second = pairs.add(frames)
                fields = self._compute_flow(first, second, recipe.flow)
            if "flow" not in self._streams or pairs.step < 0:
                # These rows do not wait: they have no flow, or it leads to an earlier frame.
                for _ in range(len(waiting) - len(fields)):
                    yield waiting.popleft()
            for flow_x, flow_y in fields:
                yield waiting.popleft() | {"flow_x": flow_x, "flow_y": flow_y}
        yield from waiting

    def _encode_rgb(self, chunk: list[VideoFrame], recipe: RGBRecipe) -> list[bytes | None]:
        """Encode frames as JPEGs, except those that keep the bytes of their file."""
        with self._timer.enter_stage("encode"):
            return [
                frame.jpeg or encode_rgb(frame.pixels, recipe.quality, recipe.subsampling)
                for frame in chunk
            ]

    def _compute_flow(
        self, first: list[U8], second: list[U8], recipe: FlowRecipe
    ) -> list[tuple[bytes, bytes]]:
        """Compute the flow from each first frame to its second one, as a pair of JPEGs.

        Args:
            first: The frames that `FlowSolver.prepare_frame` returned, (H, W) or (H, W, 3).
            second: As many frames.
            recipe: How flow is computed.

        Returns:
            As many pairs.
        """
        if not first:
            return []
        with self._timer.enter_stage("flow"):
            flow = self._solver.solve(first, second)
        with self._timer.enter_stage("encode"):
            self.motion.add(flow)
            return [
                (encode_grey(q[..., 0], recipe.quality), encode_grey(q[..., 1], recipe.quality))
                for q in flow
            ]
