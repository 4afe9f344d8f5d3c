"""flowkit: folders of videos → frame stores (RGB, TV-L1 flow, audio) → PyTorch.

`import flowkit` stays light: the names below load their modules on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowkit.caches import set_cache_folders
from flowkit.version import __version__ as __version__

__distribution__ = "flowkit-video"  # what pip installs; see installation.py

if TYPE_CHECKING:
    from flowkit.datasets.clips import ClipDataset as ClipDataset
    from flowkit.datasets.feature_sets import FeatureSetDataset as FeatureSetDataset
    from flowkit.datasets.loading import EpochSampler as EpochSampler
    from flowkit.datasets.patches import PatchDataset as PatchDataset
    from flowkit.datasets.sampling import ClipSampling as ClipSampling
    from flowkit.datasets.snippets import SnippetDataset as SnippetDataset
    from flowkit.datasets.transforms import CentreCrop as CentreCrop
    from flowkit.datasets.transforms import JitteredCrop as JitteredCrop
    from flowkit.datasets.transforms import MultiScaleCrop as MultiScaleCrop
    from flowkit.datasets.transforms import RandomCrop as RandomCrop
    from flowkit.datasets.transforms import TenCrop as TenCrop
    from flowkit.datasets.transforms import ThreeCrop as ThreeCrop
    from flowkit.datasets.windows import WindowDataset as WindowDataset
    from flowkit.decode import read_video as read_video
    from flowkit.errors import CorruptError as CorruptError
    from flowkit.errors import FlowError as FlowError
    from flowkit.errors import FlowkitError as FlowkitError
    from flowkit.errors import LockedError as LockedError
    from flowkit.errors import RecipeError as RecipeError
    from flowkit.errors import StoreError as StoreError
    from flowkit.errors import UsageError as UsageError
    from flowkit.errors import VideoError as VideoError
    from flowkit.extraction.api import extract as extract
    from flowkit.flow import dequantize as dequantize
    from flowkit.flow import quantize as quantize
    from flowkit.flow import tvl1 as tvl1
    from flowkit.flow import tvl1_video as tvl1_video
    from flowkit.store import Store as Store

_MODULES = {
    "flowkit.datasets.clips": ("ClipDataset",),
    "flowkit.datasets.feature_sets": ("FeatureSetDataset",),
    "flowkit.datasets.loading": ("EpochSampler",),
    "flowkit.datasets.patches": ("PatchDataset",),
    "flowkit.datasets.sampling": ("ClipSampling",),
    "flowkit.datasets.snippets": ("SnippetDataset",),
    "flowkit.datasets.transforms": (
        "CentreCrop", "JitteredCrop", "MultiScaleCrop", "RandomCrop", "TenCrop", "ThreeCrop",
    ),
    "flowkit.datasets.windows": ("WindowDataset",),
    "flowkit.decode": ("read_video",),
    "flowkit.errors": (
        "CorruptError", "FlowError", "FlowkitError", "LockedError", "RecipeError", "StoreError",
        "UsageError", "VideoError",
    ),
    "flowkit.extraction.api": ("extract",),
    "flowkit.flow": ("dequantize", "quantize", "tvl1", "tvl1_video"),
    "flowkit.store": ("Store",),
}  # fmt: skip
_LAZY = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *sorted(_LAZY)]  # pyright: ignore[reportUnsupportedDunderAll]

set_cache_folders()  # before numba, matplotlib or torch is imported


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'flowkit' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
