"""Compute optical flow from pairs of frames, and store and display flow fields.

Names are imported on first use, so that importing the package loads neither NumPy nor Numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowkit.flow.backends import BACKENDS as BACKENDS
    from flowkit.flow.backends import available_backends as available_backends
    from flowkit.flow.backends import resolve_backend as resolve_backend
    from flowkit.flow.color import flow_to_color as flow_to_color
    from flowkit.flow.flo import read_flo as read_flo
    from flowkit.flow.flo import write_flo as write_flo
    from flowkit.flow.learned.solver import learned_flow as learned_flow
    from flowkit.flow.params import PRESETS as PRESETS
    from flowkit.flow.params import TVL1Params as TVL1Params
    from flowkit.flow.quantization import dequantize as dequantize
    from flowkit.flow.quantization import from_denseflow as from_denseflow
    from flowkit.flow.quantization import quantize as quantize
    from flowkit.flow.quantization import to_denseflow as to_denseflow
    from flowkit.flow.solver import tvl1 as tvl1
    from flowkit.flow.solver import tvl1_video as tvl1_video
    from flowkit.flow.solver import tvl1_video_quantized as tvl1_video_quantized

_MODULES = {
    "backends": ("BACKENDS", "available_backends", "resolve_backend"),
    "color": ("flow_to_color",),
    "flo": ("read_flo", "write_flo"),
    "learned.solver": ("learned_flow",),
    "params": ("PRESETS", "TVL1Params"),
    "quantization": ("dequantize", "from_denseflow", "quantize", "to_denseflow"),
    "solver": ("tvl1", "tvl1_video", "tvl1_video_quantized"),
}
_LAZY = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_LAZY)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
