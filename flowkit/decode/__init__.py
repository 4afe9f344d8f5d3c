"""Video file → frames (PyAV). ``with VideoReader(path, resize) as frames: …``."""

from flowkit.decode.reader import VideoInfo, VideoReader, codecs, probe, read_video

__all__ = ["VideoInfo", "VideoReader", "codecs", "probe", "read_video"]
