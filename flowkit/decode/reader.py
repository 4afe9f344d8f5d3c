"""Video file → RGB frames, with PyAV (FFmpeg's libraries).

What a frame is, exactly:

- every frame that the decoder gives, in presentation order, each once; frames that an edit
  list hides are not presented, so they do not count;
- turned and mirrored as the display matrix says, where that is a multiple of 90°;
- 8-bit RGB by the stream's own matrix and range (BT.601 and limited range where it says
  nothing, as FFmpeg does), with swscale's accurate and bit-exact arithmetic, or ours, which
  makes the same bytes (conversion.py), so that all machines agree; alpha is dropped; pixels are
  not made square;
- resized by OpenCV in RGB: pixel-area average, or bilinear where a side grows.

Resampling to another frame rate is defined in ``resample.py``.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, repeat
from types import TracebackType
from typing import Any, Self

import av
import numpy as np

from flowkit.decode.container import label, open_container, reason
from flowkit.decode.conversion import FrameConverter, RGBFrame
from flowkit.decode.orientation import Orientation
from flowkit.decode.resample import resample
from flowkit.decode.stream import (
    average_fps,
    duration_seconds,
    find_video_stream,
    promised_seconds,
    seconds_per_tick,
)
from flowkit.errors import UsageError, VideoError
from flowkit.recipe import Resize

MAX_SIDE = 65500  # JPEG's limit
# Formats whose headers give no frame size: only a key frame has it.
FORMATS_WITHOUT_SIZE = frozenset(
    {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "vvc", "m4v", "mjpeg", "vc1", "obu", "av1"}
)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about its video stream.

    width, height: pixels, after rotation and before resizing.
    fps: average frames per second; the true times may vary.
    rotation: degrees clockwise by which decoded pictures are turned: 0, 90, 180 or 270.
    codec, pixel_format: FFmpeg's names, such as ``h264`` and ``yuv420p``.
    duration: seconds, None where the container does not say.
    """

    width: int
    height: int
    fps: float
    rotation: int
    codec: str
    pixel_format: str
    has_audio: bool
    duration: float | None


class VideoReader:
    """The frames of one video file, in one pass and constant memory.

    Parameters
    ----------
    path: any file that FFmpeg reads; the first (best) video stream that is no cover picture.
    resize: how frames are stored.
    fps: frames per second to resample to; None keeps every frame as it is.
    threads: of the decoder. Frames and warnings do not depend on it: threads share the
        slices of one picture, since frame threads see errors in another order.

    Attributes
    ----------
    info: what the file says.
    width, height: of the frames that come out, in pixels.
    frame_rate: frames per second of what comes out.
    warnings: one line each, filled while iterating: a break, damaged or missing frames.

    Raises
    ------
    VideoError: at opening ``missing``, ``not-a-file``, ``empty``, ``unreadable``,
        ``not-a-video``, ``no-video-stream``, ``no-decoder``, ``bad-size`` or ``broken`` (not
        one frame); while iterating ``size-change``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        resize: Resize,
        fps: float | None = None,
        threads: int = 1,
    ) -> None:
        if fps is not None and not 0 < fps < float("inf"):
            raise UsageError(f"fps must be a positive number, got {fps}")
        self.warnings: list[str] = []
        self._label = label(path)
        self._resize = resize
        self._container = open_container(path)
        try:
            self._stream = find_video_stream(self._container, self._label)
            self._stream.codec_context.thread_count = threads
            self._stream.codec_context.thread_type = "SLICE"
            self._open_first_frame()
        except BaseException:
            self._container.close()
            raise
        self._fps = None if fps is None else Fraction(fps).limit_denominator(1_000_000)
        self.frame_rate = self.info.fps if fps is None else float(fps)
        self._started = False

    def _open_first_frame(self) -> None:
        """Decode one frame: only it knows the true size, format and orientation."""
        raw = self._decode()
        first = next(raw, None)
        stream = self._stream
        if first is None:
            raise self._explain_no_frame()
        orientation = Orientation.of(first)
        if orientation is None:
            self.warnings.append("display matrix is no multiple of 90°: pictures are left unturned")
            orientation = Orientation()
        self._coded_size = (first.width, first.height)
        width, height = self._coded_size[::-1] if orientation.swap else self._coded_size
        self.info = VideoInfo(
            width=width,
            height=height,
            fps=average_fps(stream),
            rotation=orientation.rotation,
            codec=stream.codec_context.codec.canonical_name,
            pixel_format=first.format.name,
            has_audio=len(self._container.streams.audio) > 0,
            duration=duration_seconds(stream),
        )
        self.width, self.height = self._resize.compute_size(width, height)
        for w, h, what in ((width, height, "frame"), (self.width, self.height, "resized frame")):
            if not (1 <= w <= MAX_SIDE and 1 <= h <= MAX_SIDE):
                raise VideoError(
                    "bad-size", f"{self._label}: {what} is {w}×{h}, expected sides of 1..{MAX_SIDE}"
                )
        size, area = (self.width, self.height), self._resize.filter == "area"
        self._converter = FrameConverter(size, area, orientation, self._label)
        self._raw = chain([first], raw)

    def _explain_no_frame(self) -> VideoError:
        """Make the error for a file of which not one frame could be decoded."""
        names = set(self._container.format.name.split(","))
        has_size = self._stream.width and self._stream.height
        if not has_size and not names & FORMATS_WITHOUT_SIZE:
            return VideoError("bad-size", f"{self._label}: frame size is 0×0")
        reasons = list(self.warnings)
        if self._packets == 0:
            reasons.insert(0, "the file holds no video data")
        elif self._key_packets == 0:
            reasons.insert(0, f"none of its {self._packets} packets holds a key frame")
        return VideoError(
            "broken", "; ".join([f"{self._label}: no frame could be decoded", *reasons])
        )

    def __iter__(self) -> Iterator[RGBFrame]:
        """Frames, uint8 RGB (height, width, 3), C-contiguous.

        When resampling, a frame that stands for several outputs is the same array each time.
        """
        if self._started:
            raise UsageError(f"{self._label}: a VideoReader is read once; open another one")
        self._started = True
        if self._fps is None:
            return (self._converter.convert(frame) for frame in self._raw)
        return self._resampled(self._fps)

    def _resampled(self, fps: Fraction) -> Iterator[RGBFrame]:
        clock = seconds_per_tick(self._stream)
        gap = 1 / Fraction(self.info.fps).limit_denominator(1_000_000)
        for frame, times in resample(self._raw, fps, clock, gap, self.warnings):
            yield from repeat(self._converter.convert(frame), times)

    def _decode(self) -> Iterator[Any]:
        """Decoded frames until the end or the first break, watching over them."""
        count = damaged = first_damaged = 0
        for count, frame in enumerate(self._decode_packets(), 1):
            size = (frame.width, frame.height)
            if count > 1 and size != self._coded_size:
                raise VideoError(
                    "size-change",
                    f"{self._label}: frame {count} is {size[0]}×{size[1]}, the frames before it "
                    f"{self._coded_size[0]}×{self._coded_size[1]}",
                )
            if frame.is_corrupt:
                damaged += 1
                first_damaged = first_damaged or count
            yield frame
        if damaged:
            self.warnings.append(
                f"{damaged} of {count} frames are damaged, and concealed by the decoder; "
                f"the first is frame {first_damaged}"
            )
        if count and not any("decoding broke" in w for w in self.warnings):
            self._compare_with_promise(count, frame)

    def _compare_with_promise(self, count: int, last: Any) -> None:
        """Warn where the container promises more frames, or seconds, than came."""
        promised = self._promised - self._hidden
        if count < promised:
            self.warnings.append(f"the container promises {promised} frames, {count} came")
        seconds = promised_seconds(self._stream)
        if self._promised > 0 or seconds is None or last.pts is None:
            return
        end = float(last.pts * seconds_per_tick(self._stream)) + 1 / average_fps(self._stream)
        if seconds - end > max(0.1, 2 / average_fps(self._stream)):
            self.warnings.append(
                f"the container promises {seconds:.2f} s, frames end at {end:.2f} s"
            )

    def _decode_packets(self) -> Iterator[Any]:
        """Frames of every packet. After a break, those the decoder still holds from before it."""
        stream = self._stream
        mov = "mov" in self._container.format.name.split(",")
        # stream.frames of MP4 counts what edit lists cut away, too; its index does not.
        self._promised = len(stream.index_entries) if mov else stream.frames
        self._hidden = self._packets = self._key_packets = count = rejected = 0
        accepted = False
        packets = self._container.demux(stream)
        while True:
            packet = None
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                self._packets += packet.size > 0
                self._key_packets += packet.size > 0 and packet.is_keyframe
                if packet.is_corrupt:  # a decoder would make half a picture of it
                    raise av.error.InvalidDataError(0, "the file is cut inside a packet")
                frames = packet.decode()
            except av.error.FFmpegError as error:
                if packet is not None and packet.size and not accepted:
                    rejected, why = rejected + 1, reason(error)
                    continue
                for frame in self._flush(None if packet is None else packet.pts):
                    count += 1
                    yield frame
                self.warnings.append(f"decoding broke after frame {count}: {reason(error)}")
                break
            accepted = accepted or packet.size > 0
            self._hidden += packet.is_discard
            for frame in frames:
                count += 1
                yield frame
        if rejected:
            self.warnings.append(f"the first {rejected} packets could not be decoded: {why}")

    def _flush(self, before: int | None) -> list[Any]:
        """Frames that the decoder holds, presented before timestamp ``before``."""
        try:
            frames = self._stream.codec_context.decode(None)
        except av.error.FFmpegError:  # it holds nothing that can be shown
            return []
        return [f for f in frames if None in (before, f.pts) or f.pts < before]

    def close(self) -> None:
        """Close the file; iterating ends."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_video(
    path: str | os.PathLike[str], resize: Resize | None = None, fps: float | None = None
) -> RGBFrame:
    """All frames of a video at once, uint8 RGB (T, H, W, 3); see :class:`VideoReader`."""
    with VideoReader(path, resize or Resize(mode="none"), fps) as reader:
        return np.stack(list(reader))


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What a video file says, after decoding one frame of it; see :class:`VideoReader`."""
    with VideoReader(path, Resize(mode="none")) as reader:
        return reader.info
