"""Choose how many frames a worker decodes, encodes and computes flow for at a time.

A chunk holds the RGB, grey and float flow of its frames. Three chunks exist at once: one is being
decoded, one waits, and one is being processed.

A GPU solves about 260 pairs of frames in parallel and needs more of them queued: its lanes together
keep about a thousand, in chunks whose decoding and encoding overlap with those of other lanes.
"""

from collections.abc import Callable, Iterator

import psutil

from flowkit.decode import FrameReader, VideoFrame
from flowkit.extraction.actors import uses_gpu
from flowkit.extraction.tasks import WorkerSettings

PIXEL_BYTES = 12
"""Bytes per pixel of a chunk: 3 of RGB, 1 of grey and 8 of flow."""
CHUNK_BYTES = 32 << 20
"""Largest chunk on a CPU in bytes, unless two frames are larger."""
CHUNK_FRAMES = 16
"""Largest number of frames of a chunk on a CPU."""
GPU_CHUNK_BYTES = 256 << 20
"""Largest chunk on a GPU in bytes, unless two frames are larger."""
GPU_PAIRS = 1024
"""Pairs of frames that the lanes of a GPU keep together."""
GPU_CHUNK_FRAMES = (32, 256)
"""Smallest and largest number of frames of a chunk on a GPU, as far as memory allows."""


def choose_chunk_length(frame_bytes: int, settings: WorkerSettings) -> int:
    """Choose the number of frames per chunk.

    Args:
        frame_bytes: Memory that one frame needs, in bytes.
        settings: The settings of the worker.

    Returns:
        At least 2.
    """
    if not uses_gpu(settings.backend):
        return max(2, min(CHUNK_FRAMES, CHUNK_BYTES // max(1, frame_bytes)))
    # Four chunks per lane rather than three, since a chunk is also copied for the GPU.
    lane_bytes = psutil.virtual_memory().available // (4 * settings.lanes)
    low, high = GPU_CHUNK_FRAMES
    frames = min(max(GPU_PAIRS // settings.lanes, low), high)
    return max(2, min(frames, min(GPU_CHUNK_BYTES, lane_bytes) // max(1, frame_bytes)))


def read_chunks(
    reader: FrameReader, settings: WorkerSettings, report_progress: Callable[[int], None]
) -> Iterator[list[VideoFrame]]:
    """Group the frames of a video into lists of bounded size in bytes.

    Args:
        reader: The frames.
        settings: The settings of the worker.
        report_progress: Called with 1 for each frame that was decoded.
    """
    frame_bytes = reader.width * reader.height * PIXEL_BYTES
    length = choose_chunk_length(frame_bytes, settings)
    chunk: list[VideoFrame] = []
    for frame in reader.read_frames():
        chunk.append(frame)
        report_progress(1)
        if len(chunk) == length:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
