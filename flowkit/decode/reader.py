"""Read the RGB frames of a video file with PyAV (FFmpeg's libraries).

The frames are defined as follows:

- Every frame that the decoder returns is used once, in presentation order. Frames that an edit list
  hides are not used.
- Frames are rotated and mirrored as the display matrix requires, if that turns them by a multiple
  of 90°.
- Pixels are converted to 8-bit RGB with the colour matrix and range of the stream (if the stream
  does not state them, BT.601 and limited range, as in FFmpeg). This is done by swscale's accurate
  and bit-exact arithmetic, or by our own, which computes the same bytes (conversion.py), so the
  result is the same on all machines. Alpha is dropped.
- Frames are resized by OpenCV in RGB: by pixel-area average, or bilinearly if a side is enlarged.
  Non-square pixels stay as they are, unless the recipe has ``square_pixels``.

Resampling to another frame rate is defined in ``resample.py``.
"""

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any, Self

import av
import numpy as np

from flowkit.decode.closable import ClosableIterator
from flowkit.decode.container import format_error, get_display_name, open_container
from flowkit.decode.conversion import FrameConverter, check_sizes
from flowkit.decode.frame import RGBFrame, VideoFrame
from flowkit.decode.orientation import Orientation
from flowkit.decode.packets import PacketReader
from flowkit.decode.resample import (
    bridge_clock_jumps,
    compute_presentation_times,
    repeat_frames,
    resample_frames,
)
from flowkit.decode.stream import (
    find_video_stream,
    get_average_fps,
    get_duration_seconds,
    get_end_seconds,
    get_pixel_aspect_ratio,
    get_seconds_per_tick,
)
from flowkit.decode.video_info import VideoInfo
from flowkit.errors import UsageError, VideoError
from flowkit.recipe import Resize

# Formats whose headers do not state the frame size; only a key frame has it.
FORMATS_WITHOUT_SIZE = frozenset(
    {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "vvc", "m4v", "mjpeg", "vc1", "obu", "av1"}
)


class VideoReader:
    """Iterates over the frames of one video file, in one pass and constant memory.

    Args:
        path: Any file that FFmpeg reads. Its best video stream is used.
        resize: How frames are resized.
        fps: Frames per second to resample to; None keeps every frame.
        threads: Decoder threads. Frames and warnings do not depend on the number: threads decode
            slices of the same frame, because frame threads would report errors in another order.

    Attributes:
        info: Properties of the file.
        width: Width of the frames that are returned, in pixels.
        height: Height of the frames that are returned, in pixels.
        frame_rate: Frames per second of the frames that are returned.
        pixel_aspect_ratio: Width of a pixel of the file divided by its height.
        warnings: One line for each problem that was noticed so far: decoding that stopped midway,
            damaged or missing frames.

    Raises:
        VideoError: When the file is opened: ``missing``, ``not-a-file``, ``empty``,
            ``unreadable``, ``not-a-video``, ``no-video-stream``, ``no-decoder``, ``bad-size`` or
            ``broken`` (not one frame could be decoded). During iteration: ``size-change`` or
            ``broken`` (a frame has a format that cannot become RGB).
        UsageError: ``fps`` is not a positive number, or the reader is iterated twice.

    Example:
        with VideoReader("video.mp4", Resize(mode="short-side", side=256)) as reader:
            for frame in reader:  # uint8 RGB (height, width, 3)
                ...
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        resize: Resize,
        fps: float | None = None,
        threads: int = 1,
    ) -> None:
        """Open the file and decode its first frame."""
        if fps is not None and not 0 < fps < float("inf"):
            raise UsageError(f"fps must be a positive number, got {fps}")
        self.warnings: list[str] = []
        self._display_name = get_display_name(path)
        self._resize = resize
        self._container = open_container(path)
        try:
            self._stream = find_video_stream(self._container, self._display_name)
            self._stream.codec_context.thread_count = threads
            self._stream.codec_context.thread_type = "SLICE"
            self._open_first_frame()
        except BaseException:
            self._container.close()
            raise
        self._fps = None if fps is None else Fraction(fps).limit_denominator(1_000_000)
        self.frame_rate = self.info.fps if fps is None else float(fps)
        self._is_iterated = False

    def _open_first_frame(self) -> None:
        """Decode the first frame: only a frame has the true size, format and orientation."""
        frames = self._decode_frames()
        first_frame = next(frames, None)
        stream = self._stream
        if first_frame is None:
            raise self._make_no_frame_error()
        orientation = Orientation.from_frame(first_frame)
        if orientation is None:
            self.warnings.append(
                "the display matrix is not a rotation by a multiple of 90°: frames are not rotated"
            )
            orientation = Orientation()
        self._coded_size = (first_frame.width, first_frame.height)
        width, height = self._coded_size[::-1] if orientation.transpose else self._coded_size
        aspect = get_pixel_aspect_ratio(stream)
        self.info = VideoInfo(
            width=width,
            height=height,
            fps=get_average_fps(stream),
            rotation=orientation.rotation,
            pixel_aspect_ratio=1 / aspect if orientation.transpose else aspect,
            codec=stream.codec_context.codec.canonical_name,
            pixel_format=first_frame.format.name,
            has_audio=len(self._container.streams.audio) > 0,
            duration=get_duration_seconds(stream),
        )
        aspect = self.pixel_aspect_ratio = self.info.pixel_aspect_ratio
        self.width, self.height = self._resize.compute_size(width, height, aspect)
        if aspect != 1 and self._resize.keeps_pixel_shape:
            self.warnings.append(
                f"its pixels are not square but {aspect.numerator}:{aspect.denominator} and stay "
                "so; --square-pixels stretches the frames"
            )
        size, area = (self.width, self.height), self._resize.filter == "area"
        check_sizes(self._display_name, {"frame": (width, height), "resized frame": size})
        self._converter = FrameConverter(size, area, orientation, self._display_name)
        decoded_frames = chain([first_frame], frames)
        self._decoded_frames = ClosableIterator(decoded_frames, self._container.close)

    def _make_no_frame_error(self) -> VideoError:
        """Make the error for a file without a frame that can be decoded."""
        names = set(self._container.format.name.split(","))
        has_size = self._stream.width and self._stream.height
        if not has_size and not names & FORMATS_WITHOUT_SIZE:
            return VideoError("bad-size", f"{self._display_name}: frame size is 0×0")
        reasons = list(self.warnings)
        if self._packets == 0:
            reasons.insert(0, "the file holds no video data")
        elif self._key_packets == 0:
            reasons.insert(0, f"none of its {self._packets} packets holds a key frame")
        problem = "; ".join(["no frame could be decoded", *reasons])
        return VideoError("broken", f"{self._display_name}: {problem}")

    def __iter__(self) -> Iterator[RGBFrame]:
        """Iterate over the pixels of `read_frames`: uint8 RGB (height, width, 3), C-contiguous."""
        return (frame.pixels for frame in self.read_frames())

    def read_frames(self) -> Iterator[VideoFrame]:
        """Iterate over the frames.

        When frames are resampled, the pixels of a frame that is repeated are the same array each
        time.

        Returns:
            An iterator over the frames, in presentation order.

        Raises:
            UsageError: The reader was iterated before.
        """
        if self._is_iterated:
            raise UsageError(
                f"{self._display_name}: a VideoReader can be iterated only once; open another one"
            )
        self._is_iterated = True
        tick = get_seconds_per_tick(self._stream)
        interval = 1 / Fraction(self.info.fps).limit_denominator(1_000_000)
        convert = self._converter.convert
        if self._fps is not None:
            chosen = resample_frames(self._decoded_frames, self._fps, tick, interval, self.warnings)
            converted = ((VideoFrame(convert(frame), None), count) for frame, count in chosen)
            return repeat_frames(converted, self._fps)
        timed_frames = bridge_clock_jumps(
            compute_presentation_times(self._decoded_frames, tick, interval),
            interval,
            self.warnings,
        )
        return (VideoFrame(convert(frame), round(time * 10**6)) for time, frame in timed_frames)

    def _decode_frames(self) -> Iterator[Any]:
        """Decode frames until the end or the first failure, and record problems as warnings."""
        count = damaged = first_damaged = 0
        for count, frame in enumerate(self._decode_packets(), 1):
            size = (frame.width, frame.height)
            if count > 1 and size != self._coded_size:
                raise VideoError(
                    "size-change",
                    f"{self._display_name}: frame {count} is {size[0]}×{size[1]}, "
                    f"the frames before it {self._coded_size[0]}×{self._coded_size[1]}",
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
        if count and not any(
            text in w for w in self.warnings for text in ("decoding broke", "interrupted")
        ):
            self._check_length(count, frame)

    def _check_length(self, count: int, last_frame: Any) -> None:
        """Warn if the container states more frames, or a longer duration, than were decoded."""
        expected = self._expected_frames - self._discarded_frames
        if count < expected:
            problem = f"the container states {expected} frames, but {count} were decoded"
            self.warnings.append(problem)
        expected_end = get_end_seconds(self._stream)
        if self._expected_frames > 0 or expected_end is None or last_frame.pts is None:
            return
        fps = get_average_fps(self._stream)
        end = float(last_frame.pts * get_seconds_per_tick(self._stream)) + 1 / fps
        if expected_end - end > max(0.1, 2 / fps):
            self.warnings.append(
                f"the container states {expected_end:.2f} s, but the frames end at {end:.2f} s"
            )

    def _decode_packets(self) -> Iterator[Any]:
        """Decode every packet; after a failure, also yield the frames still in the decoder."""
        stream = self._stream
        is_mov = "mov" in self._container.format.name.split(",")
        # In MP4, stream.frames also counts frames that an edit list hides; the index does not.
        self._expected_frames = len(stream.index_entries) if is_mov else stream.frames
        self._discarded_frames = self._packets = self._key_packets = count = rejected = 0
        accepted = False
        packets = PacketReader(self._container.demux(stream))
        while True:
            packet = None
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                self._packets += packet.size > 0
                self._key_packets += packet.size > 0 and packet.is_keyframe
                if packets.is_cut(packet, count):  # a decoder would decode half an image from it
                    raise av.error.InvalidDataError(0, "the file is cut inside a packet")
                frames = packet.decode()
            except av.error.FFmpegError as error:
                if packet is not None and packet.size and not accepted:
                    rejected, reason = rejected + 1, format_error(error)
                    continue
                for frame in self._flush_decoder(None if packet is None else packet.pts):
                    count += 1
                    yield frame
                self.warnings.append(f"decoding broke after frame {count}: {format_error(error)}")
                break
            accepted = accepted or packet.size > 0
            self._discarded_frames += packet.is_discard
            for frame in frames:
                count += 1
                yield frame
        self.warnings += packets.list_warnings()
        if rejected:
            self.warnings.append(f"the first {rejected} packets could not be decoded: {reason}")

    def _flush_decoder(self, before: int | None) -> list[Any]:
        """Return the frames that the decoder holds and that come before timestamp ``before``."""
        try:
            frames = self._stream.codec_context.decode(None)
        except av.error.FFmpegError:  # it holds no complete frame
            return []
        return [f for f in frames if None in (before, f.pts) or f.pts < before]

    def close(self) -> None:
        """Close the file, which ends the iteration; any thread may call it."""
        self._decoded_frames.close()

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self.close()


def read_video(
    path: str | os.PathLike[str], resize: Resize | None = None, fps: float | None = None
) -> RGBFrame:
    """Read all frames of a video at once; see :class:`VideoReader`.

    Args:
        path: Any file that FFmpeg reads.
        resize: How frames are resized; None keeps their size.
        fps: Frames per second to resample to; None keeps every frame.

    Returns:
        uint8 RGB (T, H, W, 3).

    Raises:
        VideoError: The file cannot be decoded; see :class:`VideoReader`.
        UsageError: ``fps`` is not a positive number.
    """
    with VideoReader(path, resize or Resize(mode="none"), fps) as reader:
        return np.stack(list(reader))


def probe_video(path: str | os.PathLike[str]) -> VideoInfo:
    """Read the properties of a video file by decoding its first frame.

    Args:
        path: Any file that FFmpeg reads.

    Returns:
        The properties.

    Raises:
        VideoError: The file cannot be decoded; see :class:`VideoReader`.
    """
    with VideoReader(path, Resize(mode="none")) as reader:
        return reader.info
