"""Define what the annotations of a video must say about its features."""

import math
from dataclasses import dataclass

from flowkit.errors import AnnotationError


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What the annotations say about the features of a video.

    Raises:
        AnnotationError: Duration or frame rate is not above 0.
    """

    duration: float
    """Duration of the video in seconds."""
    fps: float
    """Frames per second of the frames that the features were computed from."""
    file: str
    """Name of the feature file, such as ``a.npy``. Where each stream has a file of its own, such as
    ``a.rgb.npy``, the name without the stream.
    """
    frames: int | None = None
    """Number of these frames; None for that of a constant frame rate."""

    def __post_init__(self) -> None:
        """Check that duration and frame rate are above 0, since loaders divide by both."""
        for name, value in (("duration", self.duration), ("frame rate", self.fps)):
            if not (math.isfinite(value) and value > 0):
                raise AnnotationError(
                    f"{self.file}: expected a {name} above 0, got {value}; remove it, and compute "
                    "the features of this video again"
                )

    @property
    def frame(self) -> int:
        """Return the number of frames as the file has it, at least 1."""
        return max(1, round(self.duration * self.fps) if self.frames is None else self.frames)

    @property
    def key(self) -> str:
        """Return the name of the feature file without ``.npy``: the key in the database."""
        return self.file.removesuffix(".npy")
