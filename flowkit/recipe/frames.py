"""Define how frames are resized, and how RGB frames are stored."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from flowkit.errors import UsageError

ResizeMode = Literal["exact", "short-side", "none"]
Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]
DEFAULT_QUALITY = 95
"""JPEG quality of the images of a store, where nothing else is stated, and of an export."""
SQUARE = Fraction(1)
"""The pixel aspect ratio of square pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize:
    """How a decoded frame is resized before it is stored."""

    mode: ResizeMode = "exact"
    """``exact``: to ``width`` × ``height``, whatever the aspect ratio. ``short-side``: the shorter
    side becomes ``side`` pixels, and the aspect ratio is kept. ``none``: not resized.
    """
    width: int | None = None
    """Width in pixels, 1–65500; only for ``exact``."""
    height: int | None = None
    """Height in pixels, 1–65500; only for ``exact``."""
    side: int | None = None
    """Length of the shorter side in pixels, 1–65500; only for ``short-side``."""
    upsize: bool = False
    """Whether ``short-side`` also enlarges frames that are smaller."""
    filter: Literal["area", "bilinear"] = "area"
    """``area`` (OpenCV's INTER_AREA: pixel-area average; bilinear to enlarge) or ``bilinear``."""
    square_pixels: bool = False
    """Whether frames of non-square pixels get the aspect ratio at which players show them: their
    width is multiplied by the pixel aspect ratio. Not for ``exact``, which keeps no aspect ratio.
    """

    def __post_init__(self) -> None:
        """Check that the mode is known and has the sizes that it needs."""
        sizes_by_mode = {"exact": ("width", "height"), "short-side": ("side",), "none": ()}
        if self.mode not in sizes_by_mode:
            raise UsageError(
                f"resize mode must be one of {', '.join(sizes_by_mode)}, got {self.mode!r}"
            )
        for name in ("width", "height", "side"):
            value = getattr(self, name)
            if (name in sizes_by_mode[self.mode]) != (value is not None):
                expected = " and ".join(sizes_by_mode[self.mode]) or "no size"
                raise UsageError(f"resize mode {self.mode!r} needs {expected}; got {name}={value}")
            if value is not None and not 1 <= value <= 65500:
                raise UsageError(f"resize {name} must lie in 1..65500 (JPEG's limit), got {value}")
        if self.square_pixels and self.mode == "exact":
            raise UsageError("square_pixels needs resize mode short-side or none, got 'exact'")
        if self.filter not in ("area", "bilinear"):
            raise UsageError(f"resize filter must be area or bilinear, got {self.filter!r}")

    @property
    def keeps_pixel_shape(self) -> bool:
        """Whether pixels that are not square in the video are not square in the store."""
        return self.mode != "exact" and not self.square_pixels

    def compute_size(
        self, width: int, height: int, pixel_aspect_ratio: Fraction = SQUARE
    ) -> tuple[int, int]:
        """Compute the size at which a frame is stored.

        Args:
            width: Width of the decoded frame in pixels.
            height: Height of the decoded frame in pixels.
            pixel_aspect_ratio: Width of a pixel divided by its height.

        Returns:
            The stored width and height in pixels.
        """
        if self.mode == "exact":
            assert self.width is not None and self.height is not None
            return self.width, self.height
        # The width that is shown need not be a whole number of pixels; rounded only at the end.
        shown_width = width * pixel_aspect_ratio if self.square_pixels else Fraction(width)
        side, short = self.side, min(shown_width, Fraction(height))
        if side is None or (short <= side and not self.upsize):
            return max(1, round(shown_width)), height
        if shown_width <= height:
            return side, max(1, round(height * side / shown_width))
        return max(1, round(shown_width * side / height)), side


@dataclass(frozen=True, kw_only=True, slots=True)
class RGBRecipe:
    """How RGB frames are stored."""

    quality: int = DEFAULT_QUALITY
    """JPEG quality, 1–100."""
    subsampling: Subsampling = "4:2:0"
    """Chroma subsampling of the JPEG images."""
    keep: bool = False
    """Whether JPEG files of a frame folder keep their bytes, where they need no resize and their
    quality is at most ``quality``.
    """

    def __post_init__(self) -> None:
        """Check the quality and the subsampling."""
        check_quality(self.quality)
        if self.subsampling not in ("4:2:0", "4:2:2", "4:4:4"):
            raise UsageError(f"subsampling must be 4:2:0, 4:2:2 or 4:4:4, got {self.subsampling!r}")


def check_quality(quality: int) -> None:
    """Raise a UsageError if a JPEG quality does not lie in 1–100."""
    if not 1 <= quality <= 100:
        raise UsageError(f"JPEG quality must lie in 1..100, got {quality}")
