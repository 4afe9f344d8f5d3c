"""Decode video files into RGB frames with PyAV (FFmpeg's libraries), and folders of images.

Example:
    with VideoReader(path, Resize(mode="none")) as frames:
        for frame in frames:
            ...
"""

from flowkit.decode.frame import FrameReader, RGBFrame, VideoFrame
from flowkit.decode.frame_folder import FrameFolderReader
from flowkit.decode.reader import VideoReader, probe_video, read_video
from flowkit.decode.stream import find_codec_support
from flowkit.decode.video_info import VideoInfo

__all__ = [
    "FrameFolderReader", "FrameReader", "RGBFrame", "VideoFrame", "VideoInfo", "VideoReader",
    "find_codec_support", "probe_video", "read_video",
]  # fmt: skip
