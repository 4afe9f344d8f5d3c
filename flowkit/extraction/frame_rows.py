"""Compute the rows that a store has for the frames of one video: JPEGs of RGB and of flow.

Frames are processed in chunks of bounded size, and each frame is dropped once its JPEG has been
encoded.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Event
from typing import Any

from flowkit.decode import VideoFrame
from flowkit.extraction.flow_solver import FlowSolver, Stopped
from flowkit.extraction.motion import MotionHistogram
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import WorkerSettings
from flowkit.recipe import RGBRecipe
from flowkit.store.format.jpeg import encode_grey, encode_rgb

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
        self._recipe, self._streams = settings.recipe, streams
        self._timer, self._stop = timer, stop
        self._solver = FlowSolver(settings, timer, report_progress, stop)
        self.motion = MotionHistogram()

    def compute(self, chunks: Iterable[list[VideoFrame]]) -> Iterator[Row]:
        """Yield one row per frame, delayed until its flow is computed.

        Flow to a later frame needs that frame, so as many rows wait as the step has frames.

        Raises:
            Stopped: The extraction is to end.
        """
        rgb = self._recipe.rgb if "rgb" in self._streams else None
        flow = self._recipe.flow if "flow" in self._streams else None
        assert (rgb is None, flow is None) == tuple(s not in self._streams for s in ("rgb", "flow"))
        waiting: deque[Row] = deque()
        for chunk in chunks:
            if self._stop.is_set():
                raise Stopped
            images = [None] * len(chunk) if rgb is None else self._encode_rgb(chunk, rgb)
            for frame, image in zip(chunk, images, strict=True):
                waiting.append({"rgb": image, "time": frame.time})
            fields = [] if flow is None else self._compute_flow(chunk, flow.quality)
            if flow is None or flow.step < 0:
                # These rows do not wait: they have no flow, or it leads to an earlier frame.
                for _ in range(len(waiting) - len(fields)):
                    yield waiting.popleft()
            for flow_x, flow_y in fields:
                yield waiting.popleft() | {"flow_x": flow_x, "flow_y": flow_y}
        yield from waiting

    def _encode_rgb(self, chunk: list[VideoFrame], recipe: RGBRecipe) -> list[bytes]:
        """Encode frames as JPEGs, except those that keep the bytes of their file."""
        with self._timer.enter_stage("encode"):
            return [
                frame.jpeg or encode_rgb(frame.pixels, recipe.quality, recipe.subsampling)
                for frame in chunk
            ]

    def _compute_flow(self, chunk: list[VideoFrame], quality: int) -> list[tuple[bytes, bytes]]:
        """Compute the flow of the pairs that a chunk completes, each as two JPEGs."""
        flow = self._solver.add([frame.pixels for frame in chunk])
        with self._timer.enter_stage("encode"):
            self.motion.add(flow)
            return [
                (encode_grey(q[..., 0], quality), encode_grey(q[..., 1], quality)) for q in flow
            ]
