"""Which TV-L1 backends there are, which of them can run here, and how to get one.

A backend is a module with

    solve_pairs(frames0_NHW, frames1_NHW, params) -> flows_NHW2    uint8 or float32 → float32

and, where it can use that each frame belongs to two pairs,

    solve_video(frames_THW, params) -> flows_NHW2                  N = T − 1

and, where flow is quantized on the device that computed it,

    solve_video_quantized(frames_THW, params, bound) -> bytes_NHW2 uint8, as `quantize` gives

It may rely on what `flowkit.flow.solver` has checked: N ≥ 1, equal shapes and dtypes, finite
values in 0–255. Modules are imported when first used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from flowkit.errors import FlowError, UsageError


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a backend lives, and why it cannot run on this machine (None if it can)."""

    module: str
    find_obstacle: Callable[[], str | None]


def _find_numba_obstacle() -> str | None:
    return None if find_spec("numba") else "numba is not installed: pip install numba"


def _find_opencv_obstacle() -> str | None:
    try:
        import cv2
    except ImportError as error:
        return f"cv2 cannot be imported ({error}): pip install opencv-contrib-python-headless"
    if not hasattr(cv2, "optflow"):
        return "this cv2 has no optflow module: replace opencv-python by opencv-contrib-python"
    return None


def _find_opencv_cuda_obstacle() -> str | None:
    try:
        import cv2
    except ImportError as error:
        return f"cv2 cannot be imported ({error})"
    if not hasattr(cv2, "cuda") or not hasattr(cv2.cuda, "OpticalFlowDual_TVL1_create"):
        return (
            "this cv2 has no CUDA optical flow: it needs OpenCV built with CUDA and opencv_contrib"
        )
    if cv2.cuda.getCudaEnabledDeviceCount() < 1:
        return "OpenCV finds no CUDA device"
    return None


BACKENDS: dict[str, Backend] = {
    "numba": Backend("flowkit.flow.tvl1_numba", _find_numba_obstacle),
    "opencv": Backend("flowkit.flow.tvl1_opencv", _find_opencv_obstacle),
    "opencv-cuda": Backend("flowkit.flow.tvl1_opencv_cuda", _find_opencv_cuda_obstacle),
}

# What "auto" tries, best first; opencv-cuda has another pyramid, so it must be asked for.
PREFERENCE = ("numba", "opencv")


def available_backends() -> dict[str, str | None]:
    """Each backend's name, with None where it can run here and else the reason why not."""
    return {name: backend.find_obstacle() for name, backend in BACKENDS.items()}


def resolve_backend(name: str = "auto") -> str:
    """The name of the backend to run: `name` itself, or for "auto" the best one that can run here.

    Raises UsageError for an unknown name and FlowError for a backend that cannot run here.
    """
    if name == "auto":
        obstacles = {choice: BACKENDS[choice].find_obstacle() for choice in PREFERENCE}
        for choice, obstacle in obstacles.items():
            if obstacle is None:
                return choice
        reasons = "; ".join(f"{choice}: {obstacle}" for choice, obstacle in obstacles.items())
        raise FlowError(f"no flow backend can run here ({reasons})")
    if name not in BACKENDS:
        near = get_close_matches(name, BACKENDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"unknown flow backend {name!r}; {hint}there are auto, {', '.join(BACKENDS)}"
        )
    obstacle = BACKENDS[name].find_obstacle()
    if obstacle is not None:
        raise FlowError(f"flow backend {name!r} cannot run here: {obstacle}")
    return name


def load_backend(name: str) -> ModuleType:
    """The module of a resolved backend."""
    try:
        return import_module(BACKENDS[name].module)
    except RuntimeError as error:  # Numba, where no folder that it knows of is writable
        raise FlowError(
            f"flow backend {name!r} cannot be loaded ({error}): "
            "set NUMBA_CACHE_DIR to a folder that can be written"
        ) from error
