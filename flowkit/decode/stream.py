"""Read the header data of a video stream: frame rate, duration, codec. No frame is decoded."""

from fractions import Fraction
from typing import Any

import av

from flowkit.decode.container import read_tag, to_fraction
from flowkit.errors import VideoError
from flowkit.recipe.frames import SQUARE

DEFAULT_TICK = Fraction(1, 90_000)
"""Seconds per unit of the timestamps (tick), which FFmpeg uses if the file does not state it."""


def find_video_stream(container: Any, name: str) -> Any:
    """Find the best video stream of a file; the cover image of an audio file is not one.

    Args:
        container: An open PyAV container.
        name: Name of the file, for error messages.

    Returns:
        The stream.

    Raises:
        VideoError: ``no-video-stream``, or ``no-decoder`` if this FFmpeg cannot decode it.
    """
    cover_image = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover_image]
    if not streams:
        available = ", ".join(sorted({s.type for s in container.streams})) or "no stream at all"
        cover = " (only a cover image)" if container.streams.video else ""
        raise VideoError("no-video-stream", f"{name}: no video stream{cover}; it has {available}")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        reason = "this FFmpeg does not know its codec, or the file's header is truncated"
        raise VideoError("no-decoder", f"{name}: the video stream cannot be decoded: {reason}")
    return stream


def get_average_fps(stream: Any) -> float:
    """Return the average frames per second of a video stream.

    Args:
        stream: The video stream.

    Returns:
        The average that the file states. Without it, FFmpeg's guess; without that too, one frame
        per tick.
    """
    rate = to_fraction(stream.average_rate) or to_fraction(stream.guessed_rate)
    return float(rate or 1 / get_seconds_per_tick(stream))


def get_seconds_per_tick(stream: Any) -> Fraction:
    """Return the unit of the stream's timestamps (tick) in seconds, or `DEFAULT_TICK`."""
    return to_fraction(stream.time_base) or DEFAULT_TICK


def get_pixel_aspect_ratio(stream: Any) -> Fraction:
    """Return the width of a pixel divided by its height, 1 if the file does not state it.

    The container's value is used before that of the codec, as by players.
    """
    ratio = to_fraction(stream.sample_aspect_ratio)
    return ratio if ratio is not None and ratio > 0 else SQUARE


def get_duration_seconds(stream: Any) -> float | None:
    """Return the seconds that the stream lasts, or the file if that is unknown, or None."""
    if stream.duration:
        return float(stream.duration * get_seconds_per_tick(stream))
    container_duration = stream.container.duration  # in microseconds
    return container_duration / 1e6 if container_duration else None


def get_end_seconds(stream: Any) -> float | None:
    """Return the time at which the video stream ends, according to the file.

    Args:
        stream: The video stream.

    Returns:
        Seconds, as the stream's timestamps count them (they need not start at 0); None if the
        file does not state it.
    """
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * get_seconds_per_tick(stream))
    tag = read_tag(stream.metadata, "DURATION")  # Matroska's, "00:00:04.000000000"
    try:
        hours, minutes, seconds = (float(part) for part in tag.split(":"))
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def find_codec_support() -> dict[str, bool]:
    """Find which of the codecs that datasets use this FFmpeg can decode.

    Returns:
        For each codec, whether it can be decoded.
    """

    def can_decode(name: str) -> bool:
        try:
            return bool(av.Codec(name, "r"))
        except ValueError:  # PyAV's UnknownCodecError
            return False

    return {
        codec: can_decode(codec) for codec in ("h264", "hevc", "mpeg4", "vp9", "av1", "mp3", "aac")
    }
