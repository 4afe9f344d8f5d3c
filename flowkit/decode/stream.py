"""What a container says about its video stream, before any frame is decoded."""

from fractions import Fraction
from typing import Any

import av

from flowkit.decode.container import read_tag, to_fraction
from flowkit.errors import VideoError

FFMPEG_TICK = Fraction(1, 90_000)  # what avformat_new_stream sets


def find_video_stream(container: Any, name: str) -> Any:
    """The best video stream that moves: cover pictures of audio files do not."""
    pictures = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & pictures]
    if not streams:
        has = ", ".join(sorted({s.type for s in container.streams})) or "no stream at all"
        cover = " (only a cover picture)" if container.streams.video else ""
        raise VideoError("no-video-stream", f"{name}: no video stream{cover}; it has {has}")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        why = "its codec is unknown to this FFmpeg, or the file's header is cut"
        raise VideoError("no-decoder", f"{name}: the video stream cannot be decoded: {why}")
    return stream


def average_fps(stream: Any) -> float:
    """Average frames per second by the container, else FFmpeg's guess."""
    rate = to_fraction(stream.average_rate) or to_fraction(stream.guessed_rate)
    return float(rate or 1 / seconds_per_tick(stream))


def seconds_per_tick(stream: Any) -> Fraction:
    """The unit of the stream's timestamps; FFmpeg's own default where it is unset."""
    return to_fraction(stream.time_base) or FFMPEG_TICK


def duration_seconds(stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * seconds_per_tick(stream))
    whole = stream.container.duration  # in microseconds
    return whole / 1e6 if whole else None


def promised_seconds(stream: Any) -> float | None:
    """Where the video stream ends by the container's word, in seconds on its clock, if it says."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * seconds_per_tick(stream))
    tag = read_tag(stream.metadata, "DURATION")  # Matroska's, "00:00:04.000000000"
    try:
        hours, minutes, seconds = (float(part) for part in tag.split(":"))
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def codecs() -> dict[str, bool]:
    """For each codec that datasets use, whether this FFmpeg can decode it."""

    def known(name: str) -> bool:
        try:
            return bool(av.Codec(name, "r"))
        except ValueError:  # PyAV's UnknownCodecError
            return False

    return {n: known(n) for n in ("h264", "hevc", "mpeg4", "vp9", "av1", "mp3", "aac")}
