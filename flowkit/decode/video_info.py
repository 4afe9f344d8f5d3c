"""Define the properties of a video file that reading its first frame tells."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file and its video stream."""

    width: int
    """Width in pixels, after rotation and before resizing."""
    height: int
    """Height in pixels, after rotation and before resizing."""
    fps: float
    """Average frames per second; the times between frames may vary."""
    rotation: int
    """Rotation by the display matrix in degrees clockwise: 0, 90, 180 or 270; see
    :class:`flowkit.decode.orientation.Orientation` for mirrored videos.
    """
    pixel_aspect_ratio: Fraction
    """Width of a pixel divided by its height, after rotation; 1 for square pixels."""
    codec: str
    """FFmpeg's name of the codec, such as ``h264``."""
    pixel_format: str
    """FFmpeg's name of the pixel format, such as ``yuv420p``."""
    has_audio: bool
    """Whether the file has an audio stream."""
    duration: float | None
    """Duration in seconds; None if the container does not state it."""
