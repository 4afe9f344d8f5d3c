"""Decode video files into RGB frames with PyAV (FFmpeg's libraries).

Example:
    with VideoReader(path, Resize(mode="none")) as frames:
        for frame in frames:
            ...
"""

from flowkit.decode.reader import VideoInfo, VideoReader, probe_video, read_video
from flowkit.decode.stream import find_codec_support

__all__ = ["VideoInfo", "VideoReader", "find_codec_support", "probe_video", "read_video"]
