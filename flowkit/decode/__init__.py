"""Video file → frames (PyAV). ``with VideoReader(path, resize) as frames: …``."""

from flowkit.decode.reader import VideoInfo, VideoReader, probe, read_video
from flowkit.decode.stream import codecs

__all__ = ["VideoInfo", "VideoReader", "codecs", "probe", "read_video"]
