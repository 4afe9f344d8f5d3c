"""Define what a user asks for when features are computed as files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from flowkit.streams import StreamName
from train.feature_files.windows import LastFrame, Placement


class WeightFile(NamedTuple):
    """A weight file for the network of a stream."""

    stream: StreamName | None
    """The stream; None if it was not named, and the file tells."""
    file: str
    """The file."""


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """What the user asked for; None where an option was not given."""

    out: Path | None = None
    """Folder of the feature files; None if the features are stored in a store."""
    store: Path | None = None
    """The store whose images are read; None for files and frame folders."""
    model: str | None = None
    """A run, or the name of a backbone with `weights`, or a weight file with `backbone`."""
    weights: tuple[WeightFile, ...] = ()
    """The weight file of the network of each stream."""
    backbone: str | None = None
    """Name of the backbone of the weight file that `model` names."""
    stream: StreamName | None = None
    """The stream of the network. Default: those of the run, or that of the weight file."""
    split: int | None = None
    """The split of a run that has several."""
    crops: str | None = None
    """Name of the crops: "centre", "three" or "ten"."""
    size: int | None = None
    """Side of a crop in pixels."""
    convention: str | None = None
    """Name of a convention, whose settings replace those that are not given."""
    window: int | None = None
    """Frames of a window."""
    stride: int | None = None
    """Frames from the start of one window to that of the next."""
    clip_stride: int | None = None
    """Frames from one frame of a window to the next."""
    placement: Placement | None = None
    """Where windows lie; see `WindowSampling`."""
    last_frame: LastFrame | None = None
    """What to do with the last frame; see `WindowSampling`."""
    fps: float | None = None
    """Frames per second to resample to; None keeps every frame."""
    short_side: int | None = None
    """Shorter side of the frames in pixels."""
    upscale: bool = False
    """Whether frames whose shorter side is smaller are enlarged."""
    resize: str | None = None
    """Exact size of the frames, as WxH."""
    no_resize: bool = False
    """Whether frames keep their size."""
    square_pixels: bool = False
    """Whether pixels that are not square are stretched, as players do."""
    preset: str | None = None
    """Optical-flow preset."""
    method: str | None = None
    """Optical-flow method."""
    flow_weights: Path | None = None
    """Weight file of a learned method of optical flow."""
    bound: float | None = None
    """Displacement in pixels beyond which flow is clipped."""
    separate: bool | None = None
    """Whether each stream has a file of its own."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format in which the networks compute."""
    keep_extension: bool = False
    """Whether the names of the files keep the extensions of the videos."""
    option_names: Mapping[str, str] = field(default_factory=lambda: {"size": "--resize"})
    """How messages call the values of `RecipeOverrides`, where not as `flowkit extract` does."""
