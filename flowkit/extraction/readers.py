"""Open the frames of a task: a video file, a frame folder, or RGB frames of the store.

The recipe may say that flow is computed from stored RGB: from frames that were encoded as JPEG and
decoded again. Flow of a video is then the same whether it is computed with the video's RGB or later
from the store, when the video is gone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from flowkit.caches import is_folder
from flowkit.decode import FrameReader, VideoFrame
from flowkit.decode.frame_folder import FrameFolderReader
from flowkit.errors import CorruptError, VideoError
from flowkit.extraction.tasks import ExtractionTask
from flowkit.recipe import RGBRecipe, StoreRecipe
from flowkit.store import Store, Video
from flowkit.store.format.jpeg import decode_rgb, encode_rgb


def open_reader(
    task: ExtractionTask, root: Path, recipe: StoreRecipe, open_video: Callable[..., FrameReader]
) -> FrameReader:
    """Open the frames of a task.

    Args:
        task: The task.
        root: Folder of the store.
        recipe: Recipe of the store.
        open_video: Function that opens a video file, called as ``open_video(path, resize, fps)``.

    Raises:
        VideoError: The frames cannot be read.
    """
    if task.stored is not None:
        return StoredRGBReader(Store(root)[task.id])
    reader: FrameReader
    if is_folder(task.source):
        reader = FrameFolderReader(
            task.source, recipe.resize, recipe.fps, frame_rate=task.frame_rate, rgb=recipe.rgb
        )
    else:
        reader = open_video(task.source, recipe.resize, recipe.fps)
    uses_stored_rgb = recipe.flow is not None and recipe.flow.source == "stored rgb"
    if "flow" in task.streams and uses_stored_rgb:
        assert recipe.rgb is not None  # such flow is added only to a store that has RGB
        return EncodedFrameReader(reader, recipe.rgb)
    return reader


def estimate_frames(reader: FrameReader) -> int:
    """Estimate the number of frames that a reader will yield, for progress; 0 if unknown."""
    info = getattr(reader, "info", None)  # of video files
    if info is None or not info.duration:
        return 0
    return round(float(info.duration) * reader.frame_rate)


class StoredRGBReader:
    """Iterates over the RGB frames of a video in a store.

    Args:
        video: The video, which has RGB.

    Attributes:
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.
        frame_rate: Frames per second.
        warnings: Always empty.

    Raises:
        VideoError: During iteration: ``broken`` (the shard or a JPEG is damaged) or
            ``size-change``.
    """

    def __init__(self, video: Video) -> None:
        """Read nothing yet."""
        self._video = video
        self.width, self.height, self.frame_rate = video.width, video.height, video.fps
        self.warnings: list[str] = []

    def read_frames(self) -> Iterator[VideoFrame]:
        """Iterate over the frames, with their stored times where the store has them."""
        times = self._video.read_stored_times()
        for t in range(self._video.num_frames):
            try:
                pixels = decode_rgb(self._video.rgb_bytes(t))
            except CorruptError as error:
                raise VideoError("broken", f"stored RGB frame {t}: {error}") from error
            height, width = pixels.shape[:2]
            if (width, height) != (self.width, self.height):
                raise VideoError(
                    "size-change",
                    f"stored RGB frame {t} is {width}×{height}, the video {self.width}×"
                    f"{self.height}; extract or import the video again",
                )
            yield VideoFrame(pixels, None if times is None else int(times[t]))

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: the store keeps its shards open."""


class EncodedFrameReader:
    """Iterates over frames of another reader as they are after they were stored as JPEGs.

    Args:
        reader: The other reader.
        rgb: How RGB frames are stored.
    """

    def __init__(self, reader: FrameReader, rgb: RGBRecipe) -> None:
        """Read nothing yet."""
        self._reader, self._rgb = reader, rgb
        self.width, self.height = reader.width, reader.height
        self.frame_rate, self.warnings = reader.frame_rate, reader.warnings

    def read_frames(self) -> Iterator[VideoFrame]:
        """Iterate over the decoded JPEGs; each frame also has the bytes of its JPEG."""
        for frame in self._reader.read_frames():
            jpeg = frame.jpeg or encode_rgb(frame.pixels, self._rgb.quality, self._rgb.subsampling)
            yield frame._replace(pixels=decode_rgb(jpeg), jpeg=jpeg)

    def __enter__(self) -> Self:
        """Return the reader itself."""
        self._reader.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the other reader."""
        self._reader.__exit__(*exception)
