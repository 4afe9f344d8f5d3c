"""Compute optical flow from pairs of frames, and store and display flow fields.

Names are imported on first use, so that importing the package loads neither NumPy nor Numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Imported at once, because the module `quantize` and its function share a name: importing the
# module later would replace the function.
from flowkit.flow.quantize import dequantize, from_denseflow, quantize, to_denseflow

if TYPE_CHECKING:
    from flowkit.flow.backends import BACKENDS, available_backends, resolve_backend
    from flowkit.flow.color import flow_to_color
    from flowkit.flow.flo import read_flo, write_flo
    from flowkit.flow.params import PRESETS, TVL1Params
    from flowkit.flow.solver import tvl1, tvl1_video, tvl1_video_quantized

_MODULES = {
    "BACKENDS": "backends",
    "PRESETS": "params",
    "TVL1Params": "params",
    "available_backends": "backends",
    "flow_to_color": "color",
    "read_flo": "flo",
    "resolve_backend": "backends",
    "tvl1": "solver",
    "tvl1_video": "solver",
    "tvl1_video_quantized": "solver",
    "write_flo": "flo",
}

__all__ = [
    "BACKENDS",
    "PRESETS",
    "TVL1Params",
    "available_backends",
    "dequantize",
    "flow_to_color",
    "from_denseflow",
    "quantize",
    "read_flo",
    "resolve_backend",
    "to_denseflow",
    "tvl1",
    "tvl1_video",
    "tvl1_video_quantized",
    "write_flo",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
