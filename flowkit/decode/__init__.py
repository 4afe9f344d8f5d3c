"""Decode video files into RGB frames with PyAV (FFmpeg's libraries), and folders of images.

Example:
    with VideoReader(path, Resize(mode="none")) as frames:
        for frame in frames:
            ...

Folders of images are read by frame_folder.py, which also needs simplejpeg.
"""

from flowkit.decode.frame import FrameReader, RGBFrame, VideoFrame
from flowkit.decode.reader import VideoReader, probe_video, read_video
from flowkit.decode.stream import find_codec_support
from flowkit.decode.video_info import VideoInfo

__all__ = [
    "FrameReader", "RGBFrame", "VideoFrame", "VideoInfo", "VideoReader",
    "find_codec_support", "probe_video", "read_video",
]  # fmt: skip
