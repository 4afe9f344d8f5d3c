"""The recipe of a store: all that decides what its bytes mean.

Two recipes never share a store. A recipe has a common part (how frames are made) and one
part for each stream that the store holds or will hold; a stream that is added later
brings its own part, and the others stay as they are.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self, TypeVar

from flowkit.errors import UsageError
from flowkit.flow.params import PRESETS, TVL1Params

ResizeMode = Literal["exact", "short-side", "none"]
T = TypeVar("T")

MAX_FPS = 1000  # beyond any camera of the field; a slip would otherwise fill the disk

Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]

EXTRACTED = ("rgb", "flow", "audio")
"""Streams that come from the video files themselves."""
PARTS = (*EXTRACTED, "features")  # of which a recipe may have one or not
FEATURES = "features/"
"""What the names of streams of local features begin with."""
FEATURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a folder on every file system
SOURCES = ("rgb", "flow", "audio", "synthetic")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize:
    """How a decoded frame becomes a stored one.

    ``exact``: to ``width`` × ``height``, whatever the aspect ratio. ``short-side``: the
    shorter side becomes ``side`` pixels and the aspect ratio is kept; a smaller frame is
    left as it is unless ``upsize``. ``none``: untouched. ``filter`` is ``area`` (OpenCV's
    pixel-area average; linear where it enlarges) or ``bilinear``.
    """

    mode: ResizeMode = "exact"
    width: int | None = None
    height: int | None = None
    side: int | None = None
    upsize: bool = False
    filter: Literal["area", "bilinear"] = "area"

    def __post_init__(self) -> None:
        wanted = {"exact": ("width", "height"), "short-side": ("side",), "none": ()}
        if self.mode not in wanted:
            raise UsageError(f"resize mode must be one of {', '.join(wanted)}, got {self.mode!r}")
        for name in ("width", "height", "side"):
            value = getattr(self, name)
            if (name in wanted[self.mode]) != (value is not None):
                need = " and ".join(wanted[self.mode]) or "no size"
                raise UsageError(f"resize mode {self.mode!r} takes {need}; got {name}={value}")
            if value is not None and not 1 <= value <= 65500:
                raise UsageError(f"resize {name} must lie in 1..65500 (JPEG's limit), got {value}")
        if self.filter not in ("area", "bilinear"):
            raise UsageError(f"resize filter must be area or bilinear, got {self.filter!r}")

    def target(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) in pixels that a frame of the given size is stored at."""
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
    """How RGB frames are stored: JPEG ``quality`` (1–100) and chroma ``subsampling``."""

    quality: int = 95
    subsampling: Subsampling = "4:2:0"

    def __post_init__(self) -> None:
        check_quality(self.quality)
        if self.subsampling not in ("4:2:0", "4:2:2", "4:4:4"):
            raise UsageError(f"subsampling must be 4:2:0, 4:2:2 or 4:4:4, got {self.subsampling!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRecipe:
    """How flow is computed and stored.

    ``tvl1`` None: it was imported, and nobody knows its solver.
    ``bound`` in pixels; the quantization is q = 128 + round(127·clip(v, −bound, bound)/bound);
    ``quality`` is that of the two grey JPEGs (1–100); ``grey`` names the conversion that the
    solver saw (OpenCV's luma of the resized RGB frame, before JPEG).
    """

    tvl1: TVL1Params | None = field(default_factory=lambda: PRESETS["paper"])
    bound: float = 20.0
    quality: int = 95
    quantization: str = "128 + round(127 * clip(v, -bound, bound) / bound)"
    grey: str = "opencv-rgb2gray"

    def __post_init__(self) -> None:
        check_quality(self.quality)
        if not self.bound > 0:
            raise UsageError(f"flow bound must be positive pixels, got {self.bound}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioRecipe:
    """How audio is stored: the log-mel patches that VGGish eats (Hershey et al., ICASSP 2017).

    16 kHz mono, 25 ms windows every 10 ms, 64 mel bands of 125–7500 Hz, log(mel + 0.01),
    patches of 96 windows without overlap.
    """

    sample_rate: int = 16000
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    fft: int = 512
    mels: int = 64
    low_hz: float = 125.0
    high_hz: float = 7500.0
    offset: float = 0.01
    patch: int = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRecipe:
    """Which network made local features, and from what.

    ``source`` is the stream that it saw; ``model`` its name, ``weights`` the digest of its
    weights (hex, over their names, shapes and float32 values), ``dimension`` the values of a
    feature. ``positions`` evenly spaced ones of each video (0: every one), at each a clip of
    ``clip_length`` frames, ``clip_stride`` apart; ``crops`` names the views of one, of ``size``
    pixels a side (0: not cropped). ``note`` is for people, and part of the recipe all the same.
    """

    source: Literal["rgb", "flow", "audio", "synthetic"]
    model: str
    weights: str
    dimension: int
    positions: int
    clip_length: int = 1
    clip_stride: int = 1
    crops: str = "centre"
    size: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UsageError(f"features come from {', '.join(SOURCES)}, got {self.source!r}")
        least = {"dimension": 1, "positions": 0, "clip_length": 1, "clip_stride": 1, "size": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UsageError(
                    f"{name} of features must be at least {value}, got {getattr(self, name)}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that decides the bytes of a store. ``fps`` None keeps every decoded frame.

    ``features``: how each stream ``features/<name>`` was made, by name.
    """

    resize: Resize = field(default_factory=lambda: Resize(width=256, height=256))
    fps: float | None = None
    rgb: RGBRecipe | None = None
    flow: FlowRecipe | None = None
    audio: AudioRecipe | None = None
    features: Mapping[str, FeatureRecipe] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise UsageError(f"fps must be above 0 and at most {MAX_FPS}, got {self.fps}")
        for name in self.features:
            if not FEATURE_NAME.fullmatch(name):
                raise UsageError(
                    f"a name of features is of letters, digits, '.', '_' and '-', got {name!r}"
                )

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that this recipe has a part for: rgb, flow, audio, features by name."""
        made = [name for name in EXTRACTED if getattr(self, name) is not None]
        return (*made, *(f"{FEATURES}{name}" for name in sorted(self.features)))

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON values; without features there is no such key."""
        values = asdict(self)
        if not self.features:
            del values["features"]
        if self.flow is not None and self.flow.tvl1 is not None:
            values["flow"]["tvl1"] = self.flow.tvl1.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Invert :meth:`to_dict`; an unknown key is a UsageError that names it."""
        parts = dict(values)
        nested = {"resize": Resize, "rgb": RGBRecipe, "flow": FlowRecipe, "audio": AudioRecipe}
        for name, part in nested.items():
            if parts.get(name) is not None:
                body = dict(parts[name])
                if name == "flow" and body.get("tvl1") is not None:
                    body["tvl1"] = build(TVL1Params, body["tvl1"], "flow.tvl1")
                parts[name] = build(part, body, name)
        parts["features"] = {
            name: build(FeatureRecipe, body, f"features.{name}")
            for name, body in parts.get("features", {}).items()
        }
        return build(cls, parts, "recipe")

    def differences(self, other: "Recipe") -> list[str]:
        """Where both recipes speak and disagree, as ``name: mine ≠ theirs`` lines."""
        return compare(asdict(self), asdict(other), "")

    def joined(self, other: "Recipe") -> "Recipe":
        """This recipe, with the parts for streams that only ``other`` has."""
        lacking = {name: getattr(other, name) for name in EXTRACTED if getattr(self, name) is None}
        return replace(self, **lacking, features={**self.features, **other.features})


def check_quality(quality: int) -> None:
    if not 1 <= quality <= 100:
        raise UsageError(f"JPEG quality must lie in 1..100, got {quality}")


def build(part: type[T], values: Mapping[str, Any], where: str) -> T:
    known = part.__dataclass_fields__  # type: ignore[attr-defined]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r} in {where}; known: {', '.join(known)}")
    return part(**values)


def compare(mine: dict[str, Any], theirs: dict[str, Any], prefix: str) -> list[str]:
    lines: list[str] = []
    for name in mine.keys() | theirs.keys():
        a, b = mine.get(name), theirs.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += compare(a, b, f"{prefix}{name}.")
        elif a != b and not (prefix == "features." or (prefix == "" and name in PARTS)):
            lines.append(f"{prefix}{name}: {a} ≠ {b}")
    return sorted(lines)
