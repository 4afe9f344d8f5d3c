"""Define the recipe of a folder of feature files: all settings that decide their values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from flowkit.recipe import FeatureRecipe, StoreRecipe
from flowkit.streams import STREAMS, StreamName
from train.feature_files.windows import WindowSampling

Layout = Literal["concatenated", "separate"]


@dataclass(frozen=True, kw_only=True)
class FileRecipe:
    """All settings that decide the values of the feature files in a folder."""

    frames: StoreRecipe
    """How frames are resized and resampled, and how flow is computed. With a store, the store's
    recipe."""
    networks: Mapping[StreamName, FeatureRecipe]
    """The network of each stream, in the order of their columns."""
    windows: WindowSampling
    """Which frames each row is computed from."""
    layout: Layout = "concatenated"
    """Whether the features of all streams are in one file, side by side, or in one file each."""
    precision: str = "float32"
    """Number format in which the networks compute; the files are always float32."""
    source: Literal["videos", "store"] = "videos"
    """Whether the images are those of videos, or those that a store has of them as JPEGs."""
    keep_extension: bool = False
    """Whether the names of the files keep the extensions of the videos, as in ``a.mp4.npy``."""

    @property
    def streams(self) -> tuple[StreamName, ...]:
        """The streams that have a network."""
        return tuple(self.networks)

    @property
    def files(self) -> list[tuple[StreamName, ...]]:
        """The streams of each file of a video, in the order of their columns."""
        if self.layout == "concatenated":
            return [self.streams]
        return [(stream,) for stream in self.streams]

    def to_dict(self) -> dict[str, Any]:
        """Convert the recipe to JSON values."""
        frames = self.frames.to_dict()
        frames.pop("features", None)  # of a store; they do not matter here
        frames |= {name: None for name in STREAMS if name not in self.networks}
        if self.source == "videos":
            frames["rgb"] = None  # how RGB frames are stored as JPEGs, and none are
        networks = {name: asdict(network) for name, network in self.networks.items()}
        for network in networks.values():
            del network["positions"], network["clip_length"], network["clip_stride"]
            del network["note"], network["window"], network["window_stride"]
        return {
            "source": self.source,
            "frames": frames,
            "networks": networks,
            # Frames that each network sees at once, by stream.
            "images": {name: network.clip_length for name, network in self.networks.items()},
            "windows": asdict(self.windows),
            "layout": self.layout,
            "precision": self.precision,
            "keep_extension": self.keep_extension,
        }
