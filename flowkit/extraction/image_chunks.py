"""Read the RGB frames and the flow of one video without storing them, chunk by chunk.

The frames come from a file, whose flow is computed, or from a store that has both. Every frame is
decoded once, and its flow is computed once. An `ImageChunk` is what has arrived since the last one:
flow arrives one frame later than RGB, because it leads to the next frame.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
import numpy.typing as npt

from flowkit.decode import FrameReader
from flowkit.errors import CorruptError, VideoError
from flowkit.extraction.chunks import read_chunks
from flowkit.extraction.flow_solver import FlowSolver, Stopped
from flowkit.extraction.stage_timer import StageTimer
from flowkit.extraction.tasks import WorkerSettings
from flowkit.store import Video
from flowkit.store.format.jpeg import decode_grey, decode_rgb

U8 = npt.NDArray[np.uint8]
STORED_FRAMES = 16
"""Frames that are read from a store at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageChunk:
    """Images of one video that follow those of the chunk before; lists may be empty."""

    rgb: Sequence[U8] = ()
    """RGB frames, (H, W, 3)."""
    flow: Sequence[U8] = ()
    """Quantized flow fields, (H, W, 2), where 128 is no motion."""
    times: Sequence[int | None] = ()
    """Presentation times of the frames in microseconds; None where unknown. There is one for each
    frame, even if no stream needs RGB.
    """


def compute_images(
    reader: FrameReader,
    settings: WorkerSettings,
    streams: tuple[str, ...],
    timer: StageTimer,
    report_progress: Callable[[int], None],
    stop: Event,
) -> Iterator[ImageChunk]:
    """Yield the frames of a reader, and the flow that is computed from them.

    Args:
        reader: The frames.
        settings: The settings of the worker. The recipe has flow to the next frame if ``streams``
            has flow.
        streams: ``rgb``, ``flow`` or both.
        timer: Timer of the stage ``flow``.
        report_progress: Called with the number of frames that were decoded or whose flow was
            computed.
        stop: Set when the run is to end.

    Raises:
        VideoError: The video cannot be decoded further.
        Stopped: The run is to end.
    """
    solver = FlowSolver(settings, timer, report_progress, stop)
    for frames in read_chunks(reader, settings, report_progress):
        if stop.is_set():
            raise Stopped
        rgb = [frame.pixels for frame in frames]
        flow = list(solver.add(rgb)) if "flow" in streams else []
        times = [frame.time for frame in frames]
        yield ImageChunk(rgb=rgb if "rgb" in streams else [], flow=flow, times=times)


def read_stored_images(
    video: Video,
    streams: tuple[str, ...],
    report_progress: Callable[[int], None],
    stop: Event,
) -> Iterator[ImageChunk]:
    """Yield the RGB frames and the flow that a store has of a video.

    Args:
        video: The video, which has the streams. Its flow leads to the next frame.
        streams: ``rgb``, ``flow`` or both.
        report_progress: Called with the number of frames that were read.
        stop: Set when the run is to end.

    Raises:
        VideoError: ``broken``: a shard or a JPEG is damaged.
        Stopped: The run is to end.
    """
    try:
        stored_times = video.read_stored_times()
        for start in range(0, video.num_frames, STORED_FRAMES):
            if stop.is_set():
                raise Stopped
            end = min(start + STORED_FRAMES, video.num_frames)
            rows = range(start, end)
            rgb = [decode_rgb(video.rgb_bytes(t)) for t in rows if "rgb" in streams]
            last = min(end, video.num_flow) if "flow" in streams else start
            jpegs = video.flow_jpegs(start, last - start) if last > start else []
            flow = [np.stack([decode_grey(x), decode_grey(y)], axis=-1) for x, y in jpegs]
            report_progress(end - start)
            times = [None if stored_times is None else int(stored_times[t]) for t in rows]
            yield ImageChunk(rgb=rgb, flow=flow, times=times)
    except CorruptError as error:
        raise VideoError("broken", " ".join(str(error).split())) from error
