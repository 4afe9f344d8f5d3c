"""Train, evaluate and use video classification networks on flowkit stores.

`import train` is fast: the functions below load their modules on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.api import evaluate as evaluate
    from train.api import fit as fit
    from train.api import predict as predict
    from train.feature_files.api import compute_features as compute_features
    from train.feature_files.reading import FeatureFiles as FeatureFiles
    from train.recipe.recipe import read_recipe as read_recipe

_LAZY = dict.fromkeys(("evaluate", "fit", "predict"), "train.api")
_LAZY["read_recipe"] = "train.recipe.recipe"
_LAZY["compute_features"] = "train.feature_files.api"
_LAZY["FeatureFiles"] = "train.feature_files.reading"

__all__ = sorted(_LAZY)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'train' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
