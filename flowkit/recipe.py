"""Define the recipe of a store: all settings that decide its bytes.

A store has exactly one recipe. A recipe has a common part (frame size and frame rate) and one part
for each stream in the store. If a stream is added to a store, its part is added to the recipe, and
the other parts do not change.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self, TypeVar

from flowkit.errors import UsageError
from flowkit.flow.params import PRESETS, TVL1Params
from flowkit.streams import STREAMS, StreamName

ResizeMode = Literal["exact", "short-side", "none"]
T = TypeVar("T")

MAX_FPS = 1000
"""Largest frame rate; it is above that of any camera, so a larger one is a typing error."""

Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]

PARTS = (*STREAMS, "features")
"""Parts of a recipe that may be missing."""
FEATURES = "features/"
"""Prefix of the names of feature streams."""
FEATURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of features, which must be valid folder names on every file system."""
SOURCES = (*STREAMS, "synthetic")
"""Streams that features can be computed from."""


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
        if self.filter not in ("area", "bilinear"):
            raise UsageError(f"resize filter must be area or bilinear, got {self.filter!r}")

    def compute_size(self, width: int, height: int) -> tuple[int, int]:
        """Compute the size at which a frame is stored.

        Args:
            width: Width of the decoded frame in pixels.
            height: Height of the decoded frame in pixels.

        Returns:
            The stored width and height in pixels.
        """
        if self.mode == "exact":
            assert self.width is not None and self.height is not None
            return self.width, self.height
        if self.mode == "none":
            return width, height
        assert self.side is not None
        short = min(width, height)
        if short <= self.side and not self.upsize:
            return width, height
        return (
            (self.side, max(1, round(height * self.side / width)))
            if width <= height
            else (max(1, round(width * self.side / height)), self.side)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RGBRecipe:
    """How RGB frames are stored."""

    quality: int = 95
    """JPEG quality, 1–100."""
    subsampling: Subsampling = "4:2:0"
    """Chroma subsampling of the JPEG images."""

    def __post_init__(self) -> None:
        """Check the quality and the subsampling."""
        check_quality(self.quality)
        if self.subsampling not in ("4:2:0", "4:2:2", "4:4:4"):
            raise UsageError(f"subsampling must be 4:2:0, 4:2:2 or 4:4:4, got {self.subsampling!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRecipe:
    """How optical flow is computed and stored."""

    tvl1: TVL1Params | None = field(default_factory=lambda: PRESETS["paper"])
    """Parameters of the solver; None if the flow was imported and its solver is unknown."""
    bound: float = 20.0
    """Displacement in pixels beyond which flow is clipped."""
    quality: int = 95
    """JPEG quality of the two grey images of a flow field, 1–100."""
    quantization: str = "128 + round(127 * clip(v, -bound, bound) / bound)"
    """The quantization, as a formula."""
    grey: str = "opencv-rgb2gray"
    """The conversion to grey before the solver: OpenCV's luma of the resized RGB frame, before
    JPEG.
    """

    def __post_init__(self) -> None:
        """Check the quality and the bound."""
        check_quality(self.quality)
        if not self.bound > 0:
            raise UsageError(f"flow bound must be positive pixels, got {self.bound}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioRecipe:
    """How audio is stored: as the log-mel patches that are the input of VGGish.

    Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017. The
    defaults are 16 kHz mono, 25 ms windows every 10 ms, 64 mel bands of 125–7500 Hz, log(mel +
    0.01), and patches of 96 windows without overlap.
    """

    sample_rate: int = 16000
    """Samples per second after resampling to mono."""
    window_seconds: float = 0.025
    """Length of a spectrum window in seconds."""
    hop_seconds: float = 0.010
    """Seconds from one window to the next."""
    fft: int = 512
    """Length of the Fourier transform in samples."""
    mels: int = 64
    """Number of mel bands."""
    low_hz: float = 125.0
    """Lower edge of the lowest band in Hz."""
    high_hz: float = 7500.0
    """Upper edge of the highest band in Hz."""
    offset: float = 0.01
    """Added to the mel energies before the logarithm."""
    patch: int = 96
    """Windows in a patch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRecipe:
    """Which network computed local features, and from what."""

    source: StreamName | Literal["synthetic"]
    """The stream that is the input of the network."""
    model: str
    """Name of the network."""
    weights: str
    """Digest of its weights (hexadecimal, over their names, shapes and float32 values)."""
    dimension: int
    """Number of values of a feature, at least 1."""
    positions: int
    """Number of evenly spaced positions in each video; 0 means every position."""
    clip_length: int = 1
    """Frames in the clip at each position, at least 1."""
    clip_stride: int = 1
    """Frames from one frame of a clip to the next, at least 1."""
    crops: str = "centre"
    """Names of the views of a clip."""
    size: int = 0
    """Side of a crop in pixels; 0 means not cropped."""
    note: str = ""
    """A note for people; recipes with different notes are different."""

    def __post_init__(self) -> None:
        """Check the source and the lower limits of the numbers."""
        if self.source not in SOURCES:
            names = ", ".join(SOURCES)
            raise UsageError(f"the source of features must be one of {names}, got {self.source!r}")
        minima = {"dimension": 1, "positions": 0, "clip_length": 1, "clip_stride": 1, "size": 0}
        for name, limit in minima.items():
            if getattr(self, name) < limit:
                raise UsageError(
                    f"{name} of features must be at least {limit}, got {getattr(self, name)}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All settings that decide the bytes of a store."""

    resize: Resize = field(default_factory=lambda: Resize(width=256, height=256))
    """How decoded frames are resized."""
    fps: float | None = None
    """Frames per second to resample to; None keeps every decoded frame."""
    rgb: RGBRecipe | None = None
    """How RGB frames are stored; None if the store has none."""
    flow: FlowRecipe | None = None
    """How flow is computed and stored; None if the store has none."""
    audio: AudioRecipe | None = None
    """How audio is stored; None if the store has none."""
    features: Mapping[str, FeatureRecipe] = field(default_factory=dict)
    """How each stream ``features/<name>`` was made, by name."""

    def __post_init__(self) -> None:
        """Check the frame rate and the names of features."""
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise UsageError(f"fps must be above 0 and at most {MAX_FPS}, got {self.fps}")
        for name in self.features:
            if not FEATURE_NAME.fullmatch(name):
                raise UsageError(
                    f"a feature name may hold letters, digits, '.', '_' and '-', got {name!r}"
                )

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that this recipe has a part for: rgb, flow, audio, and features by name."""
        own_streams = [name for name in STREAMS if getattr(self, name) is not None]
        return (*own_streams, *(f"{FEATURES}{name}" for name in sorted(self.features)))

    def to_dict(self) -> dict[str, Any]:
        """Convert the recipe to JSON values; without features there is no key ``features``.

        Returns:
            JSON values by name.
        """
        values = asdict(self)
        if not self.features:
            del values["features"]
        if self.flow is not None and self.flow.tvl1 is not None:
            values["flow"]["tvl1"] = self.flow.tvl1.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Convert the result of :meth:`to_dict` back to a recipe.

        Args:
            values: JSON values by name.

        Returns:
            The recipe.

        Raises:
            UsageError: A key is unknown (the message names it), or a value is invalid.
        """
        parts = dict(values)
        nested = {"resize": Resize, "rgb": RGBRecipe, "flow": FlowRecipe, "audio": AudioRecipe}
        for name, part_class in nested.items():
            if parts.get(name) is not None:
                body = dict(parts[name])
                if name == "flow" and body.get("tvl1") is not None:
                    body["tvl1"] = build_part(TVL1Params, body["tvl1"], "flow.tvl1")
                parts[name] = build_part(part_class, body, name)
        parts["features"] = {
            name: build_part(FeatureRecipe, body, f"features.{name}")
            for name, body in parts.get("features", {}).items()
        }
        return build_part(cls, parts, "recipe")

    def list_differences(self, other: "Recipe") -> list[str]:
        """List the settings that both recipes have and that differ.

        Args:
            other: The recipe to compare with.

        Returns:
            Lines such as ``name: own value ≠ other value``, sorted.
        """
        return compare_values(asdict(self), asdict(other), "")

    def extended_with(self, other: "Recipe") -> "Recipe":
        """Return this recipe with the parts for streams that only ``other`` has added to it.

        Args:
            other: A recipe with more streams.

        Returns:
            The extended recipe.
        """
        missing_parts = {
            name: getattr(other, name) for name in STREAMS if getattr(self, name) is None
        }
        return replace(self, **missing_parts, features={**self.features, **other.features})


def check_quality(quality: int) -> None:
    """Raise a UsageError if a JPEG quality does not lie in 1–100."""
    if not 1 <= quality <= 100:
        raise UsageError(f"JPEG quality must lie in 1..100, got {quality}")


def build_part(part_class: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from JSON values.

    Args:
        part_class: The dataclass.
        values: JSON values by field name.
        where: Name of the part, for error messages.

    Returns:
        The instance.

    Raises:
        UsageError: A key is unknown.
    """
    known_keys = part_class.__dataclass_fields__  # type: ignore[attr-defined]
    unknown = [name for name in values if name not in known_keys]
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r} in {where}; known: {', '.join(known_keys)}")
    return part_class(**values)


def compare_values(
    own_values: dict[str, Any], other_values: dict[str, Any], prefix: str
) -> list[str]:
    """Compare the values of two recipes, recursively.

    Args:
        own_values: JSON values by name.
        other_values: JSON values by name.
        prefix: Name of the part, with a dot at its end; empty at the top.

    Returns:
        One line for each difference, sorted.
    """
    lines: list[str] = []
    for name in own_values.keys() | other_values.keys():
        own, other = own_values.get(name), other_values.get(name)
        if isinstance(own, dict) and isinstance(other, dict):
            lines += compare_values(own, other, f"{prefix}{name}.")
        elif own != other and not (prefix == "features." or (prefix == "" and name in PARTS)):
            lines.append(f"{prefix}{name}: {own} ≠ {other}")
    return sorted(lines)
