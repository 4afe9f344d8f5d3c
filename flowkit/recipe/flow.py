"""Define how optical flow is computed and stored."""

from dataclasses import dataclass, field
from typing import Literal

from flowkit.errors import UsageError
from flowkit.flow.params import DEFAULT_BOUND, MAX_BOUND, PRESETS, TVL1Params
from flowkit.recipe.frames import DEFAULT_QUALITY, check_quality


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRecipe:
    """How optical flow is computed and stored."""

    tvl1: TVL1Params | None = field(default_factory=lambda: PRESETS["paper"])
    """Parameters of the solver; None if the flow was imported and its solver is unknown, or if
    ``method`` is another one.
    """
    bound: float = DEFAULT_BOUND
    """Displacement in pixels beyond which flow is clipped."""
    quality: int = DEFAULT_QUALITY
    """JPEG quality of the two grey images of a flow field, 1–100."""
    quantization: str = "128 + round(127 * clip(v, -bound, bound) / bound)"
    """The quantization, as a formula."""
    grey: str = "opencv-rgb2gray"
    """The conversion to grey before the solver: OpenCV's luma of the resized RGB frame, before
    JPEG, or of the stored RGB JPEG.
    """
    step: int = 1
    """Frames from a frame to the one that its flow leads to; below 0 for backward flow, never 0."""
    method: str = "tvl1"
    """``tvl1``, or the name of a learned method, which reads RGB instead of grey."""
    weights: str = ""
    """Digest of the weights of a learned method (hexadecimal); empty for ``tvl1``."""
    source: Literal["video", "stored rgb"] = "video"
    """The frames that flow was computed from: the video's, or the RGB JPEGs of the store."""

    @property
    def is_learned(self) -> bool:
        """Whether a learned method computes the flow, from RGB instead of grey."""
        return self.method != "tvl1"

    @property
    def is_imported(self) -> bool:
        """Whether the flow was imported, so that it cannot be computed again."""
        return self.tvl1 is None and not self.is_learned

    def __post_init__(self) -> None:
        """Check the quality and the bound."""
        check_quality(self.quality)
        if not 0 < self.bound < MAX_BOUND:
            raise UsageError(
                f"flow bound must be positive pixels below {MAX_BOUND:g}, got {self.bound}"
            )
        if self.step == 0:
            raise UsageError(
                "flow step must be a number of frames, 1 or more, or -1 or less; got 0"
            )
        if self.source not in ("video", "stored rgb"):
            raise UsageError(f"flow source must be 'video' or 'stored rgb', got {self.source!r}")
