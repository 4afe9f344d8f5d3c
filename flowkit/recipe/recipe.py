"""Define the recipe of a store: all settings that decide its bytes.

A store has exactly one recipe. A recipe has a common part (frame size and frame rate) and one part
for each stream in the store. If a stream is added to a store, its part is added to the recipe, and
the other parts do not change.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self, TypeVar, get_args

from flowkit.errors import UsageError
from flowkit.flow.params import TVL1Params
from flowkit.recipe.audio import LogMelRecipe
from flowkit.recipe.features import FeatureRecipe
from flowkit.recipe.flow import FlowRecipe
from flowkit.recipe.frames import Resize, RGBRecipe
from flowkit.streams import STREAMS

T = TypeVar("T")

MAX_FPS = 1000
"""Largest frame rate; larger ones are taken for typing errors."""

PARTS = (*STREAMS, "features")
"""Parts of a recipe that may be missing."""
FEATURES = "features/"
"""Prefix of the names of feature streams."""
FEATURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of features, which must be valid folder names on every file system."""
ADDED_FIELDS: dict[str, dict[str, Any]] = {
    "resize": {"square_pixels": False},
    "rgb": {"keep": False},
    "flow": {"step": 1, "method": "tvl1", "weights": "", "source": "video"},
}
"""Fields that recipes of older stores lack, with their defaults, by part. A recipe is written
without those that have their default, so that new versions write the same bytes.
"""
ADDED_FEATURE_FIELDS: dict[str, Any] = {"window": 0, "window_stride": 0}
"""The same of each part of ``features``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreRecipe:
    """All settings that decide the bytes of a store."""

    resize: Resize = field(default_factory=lambda: Resize(width=256, height=256))
    """How decoded frames are resized."""
    fps: float | None = None
    """Frames per second to resample to; None keeps every decoded frame."""
    rgb: RGBRecipe | None = None
    """How RGB frames are stored; None if the store has none."""
    flow: FlowRecipe | None = None
    """How flow is computed and stored; None if the store has none."""
    audio: LogMelRecipe | None = None
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
                    "a feature name begins with a letter or digit, and may hold letters, digits, "
                    f"'.', '_' and '-'; got {name!r}"
                )

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that this recipe has a part for: rgb, flow, audio, and features by name."""
        own_streams = [name for name in STREAMS if getattr(self, name) is not None]
        return (*own_streams, *(f"{FEATURES}{name}" for name in sorted(self.features)))

    def to_dict(self) -> dict[str, Any]:
        """Convert the recipe to JSON values.

        Without features there is no key ``features``, and no key of `ADDED_FIELDS` or
        `ADDED_FEATURE_FIELDS` has its default.

        Returns:
            JSON values by name.
        """
        values = asdict(self)
        if not self.features:
            del values["features"]
        for part, defaults in ADDED_FIELDS.items():
            for name, default in defaults.items():
                if values[part] is not None and values[part][name] == default:
                    del values[part][name]
        for features in values.get("features", {}).values():
            for name, default in ADDED_FEATURE_FIELDS.items():
                if features[name] == default:
                    del features[name]
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
            UsageError: A key is unknown (the message names it), a part is not a mapping, or a value
                is out of range.
            TypeError: A value has another type, such as a text where a number is expected.
        """
        parts = dict(values)
        fields = cls.__dataclass_fields__
        stream_parts = {name: get_args(fields[name].type)[0] for name in STREAMS}
        for name, part_class in {"resize": Resize, **stream_parts}.items():
            if parts.get(name) is not None or (name == "resize" and name in parts):
                body = check_is_mapping(parts[name], name)
                if name == "flow" and body.get("tvl1") is not None:
                    body = {**body, "tvl1": build_part(TVL1Params, body["tvl1"], "flow.tvl1")}
                parts[name] = build_part(part_class, body, name)
        parts["features"] = {
            name: build_part(FeatureRecipe, body, f"features.{name}")
            for name, body in check_is_mapping(parts.get("features", {}), "features").items()
        }
        return build_part(cls, parts, "recipe")

    def list_differences(self, other: "StoreRecipe") -> list[str]:
        """List the settings that both recipes have and that differ.

        Args:
            other: The recipe to compare with.

        Returns:
            Lines such as ``name: own value ≠ other value``, sorted.
        """
        return compare_values(asdict(self), asdict(other), "")

    def extended_with(self, other: "StoreRecipe") -> "StoreRecipe":
        """Return this recipe, extended by the parts that only ``other`` has.

        Args:
            other: A recipe with more streams.

        Returns:
            The extended recipe.
        """
        missing_parts = {
            name: getattr(other, name) for name in STREAMS if getattr(self, name) is None
        }
        return replace(self, **missing_parts, features={**self.features, **other.features})


def check_is_mapping(values: Any, where: str) -> Mapping[str, Any]:
    """Return the values of a part of a recipe; raise a UsageError if they are not a mapping."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{where}: expected a mapping of settings, got {values!r}")
    return values


def build_part(part_class: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from JSON values.

    Args:
        part_class: The dataclass.
        values: JSON values by field name.
        where: Name of the part, for error messages.

    Returns:
        The instance.

    Raises:
        UsageError: A key is unknown, or ``values`` is not a mapping.
    """
    check_is_mapping(values, where)
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
