"""Define how a run that computes feature files is executed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowkit.annotations import AnnotationTable
from flowkit.decode import FrameReader, VideoReader
from flowkit.errors import UsageError
from flowkit.extraction.options import RunOptions
from flowkit.recipe.recipe import MAX_FPS


@dataclass(frozen=True, kw_only=True)
class FileOptions(RunOptions):
    """How a run is executed. The recipe in the folder of feature files has none of these options.

    Raises:
        UsageError: An option is out of range, or options contradict one another.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the networks; "auto" uses a GPU if PyTorch finds one."""
    batch: int | None = None
    """Images or clips per batch. Default: a number for the device."""
    backend: str = "auto"
    """Name of the optical-flow backend; ``auto`` chooses one."""
    flow_weights: Path | None = None
    """Weight file of a learned method of optical flow."""
    frame_rate: float | None = None
    """Frames per second of frame folders for which the labels state none. None: not stated."""
    table: AnnotationTable | None = None
    """Labels of the videos, whose column ``fps`` states frame rates of frame folders."""
    update: bool = False
    """Compute the features of videos again whose source has changed."""
    strict: bool = False
    """Whether a video that is shorter than a window fails, instead of being padded."""
    stall_seconds: float = 600.0
    """Seconds without a new frame or row of features after which a worker is killed."""
    open_video: Callable[..., FrameReader] = VideoReader
    """Function that opens a video, called as ``open_video(path, resize, fps)``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frame_rate is not None and not 0 < self.frame_rate <= MAX_FPS:
            raise UsageError(
                f"--frame-rate must be above 0 and at most {MAX_FPS}, got {self.frame_rate:g}"
            )
