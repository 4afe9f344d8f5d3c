"""Define how a run that computes the features of a store is executed."""

from dataclasses import dataclass
from typing import Literal

from flowkit.extraction.options import RunOptions


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """How a run is executed. These options change features only by rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the network; "auto" uses a GPU if PyTorch finds one."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype that the network computes in."""
    batch: int | None = None
    """Images, clips or patches per batch. Default: a number for the device."""
    readers: int | None = None
    """Reader processes per worker. Default: a number for the device."""
    strict: bool = False
    """Whether a video that is shorter than a window has no features, instead of being padded."""
    stall_seconds: float = 600.0
    """Seconds after which a worker that has not finished its batch is killed."""
