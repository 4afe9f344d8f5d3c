"""flowkit: folders of videos → frame stores (RGB, TV-L1 flow, audio) → PyTorch.

``import flowkit`` stays light: names below load their modules on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowkit.caches import set_cache_folders
from flowkit.version import __version__ as __version__

__distribution__ = "flowkit-video"  # what pip installs; see installation.py

if TYPE_CHECKING:
    from flowkit.flow import tvl1 as tvl1
    from flowkit.store import Store as Store

_LAZY = {"Store": "flowkit.store", "tvl1": "flowkit.flow"}

__all__ = ["Store", "__version__", "tvl1"]

set_cache_folders()  # before numba, matplotlib or torch is imported


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'flowkit' has no attribute {name!r}; it has {', '.join(__all__)}")
