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

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType

from flowkit.errors import FlowError, UsageError


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a backend lives, why it cannot run on this machine (None if it can), what it runs on.

    A backend of GPUs is called from several threads at once, one stream of work each.
    """

    module: str
    find_obstacle: Callable[[], str | None]
    gpu: bool = False


def _find_numba_obstacle() -> str | None:
    return None if find_spec("numba") else "numba is not installed: pip install numba"


def _find_opencv_obstacle() -> str | None:
    try:
        import cv2
    except ImportError as error:
        return f"cv2 cannot be imported ({error}): pip install opencv-contrib-python-headless"
    if not hasattr(cv2, "optflow"):
        return (
            "this cv2 has no optflow module: replace opencv-python by "
            "opencv-contrib-python-headless"
        )
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


def _find_triton_obstacle() -> str | None:
    if find_spec("torch") is None:
        return "torch is not installed: pip install torch"
    if find_spec("triton") is None:
        return f"torch {version('torch')} came without Triton: pip install its CUDA build"
    if is_interpreted():
        return find_interpreter_obstacle()
    if "+rocm" in version("torch"):
        return f"torch {version('torch')} is built for ROCm, and the kernels are for CUDA"
    if count_gpus() == 0:
        return "there is no NVIDIA GPU here, or no driver for it"
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} cannot use the GPU: pip install its CUDA build"
    capability = torch.cuda.get_device_capability()
    if capability < OLDEST_CAPABILITY:
        name, wanted = torch.cuda.get_device_name(), ".".join(map(str, OLDEST_CAPABILITY))
        return f"{name} has compute capability {capability[0]}.{capability[1]}, below {wanted}"
    return None


def find_interpreter_obstacle() -> str | None:
    """What keeps Triton's interpreter from running the kernels, in one line; None for nothing."""
    if find_spec("torch") is None or find_spec("triton") is None:
        return "torch or Triton is not installed"
    found = version("triton")
    if tuple(map(int, found.split(".")[:2])) < OLDEST_INTERPRETER:
        wanted = ".".join(map(str, OLDEST_INTERPRETER))
        return f"the interpreter of Triton {found} does not know nested tuples, {wanted} does"
    return None


def is_interpreted() -> bool:
    """Whether Triton's kernels would run in its interpreter: on the CPU, for tests, very slowly."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def count_gpus() -> int:
    """How many CUDA GPUs the driver shows to this process; milliseconds, and torch not needed."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def explain_fallback() -> str | None:
    """Where a GPU is here and "auto" passes it over: one line that says why; else None."""
    obstacle = BACKENDS["triton"].find_obstacle()
    if obstacle is None or not (
        count_gpus() or (find_spec("torch") and "+rocm" in version("torch"))
    ):
        return None
    return f"flow runs on the CPU, since the triton backend cannot use this GPU: {obstacle}"


BACKENDS: dict[str, Backend] = {
    "triton": Backend("flowkit.flow.gpu.tvl1", _find_triton_obstacle, gpu=True),
    "numba": Backend("flowkit.flow.cpu.tvl1", _find_numba_obstacle),
    "opencv": Backend("flowkit.flow.opencv.cpu", _find_opencv_obstacle),
    "opencv-cuda": Backend("flowkit.flow.opencv.cuda", _find_opencv_cuda_obstacle, gpu=True),
}

# What "auto" tries, best first; opencv-cuda has another pyramid, so it must be asked for.
PREFERENCE = ("triton", "numba", "opencv")

OLDEST_INTERPRETER = (3, 7)  # of Triton; its compiler takes the kernels from 3.4 on
OLDEST_CAPABILITY = (7, 5)  # what the kernels were compiled for in the tests


def available_backends() -> dict[str, str | None]:
    """Each backend's name, with None where it can run here and else the reason why not."""
    return {name: backend.find_obstacle() for name, backend in BACKENDS.items()}


def resolve_backend(name: str = "auto") -> str:
    """The name of the backend to run: `name` itself, or for "auto" the best one that can run here.

    Raises UsageError for an unknown name and FlowError for a backend that cannot run here.
    """
    if name == "auto":
        choices = [name for name in PREFERENCE if name != "triton" or not is_interpreted()]
        obstacles = {choice: BACKENDS[choice].find_obstacle() for choice in choices}
        for choice, obstacle in obstacles.items():
            if obstacle is None:
                return choice
        reasons = "; ".join(f"{choice}: {obstacle}" for choice, obstacle in obstacles.items())
        raise FlowError(f"no flow backend can run here ({reasons})")
    obstacle = BACKENDS[check_backend(name)].find_obstacle()
    if obstacle is not None:
        raise FlowError(f"flow backend {name!r} cannot run here: {obstacle}")
    return name


def check_backend(name: str) -> str:
    """``name`` again; UsageError where it is neither "auto" nor a backend's."""
    if name != "auto" and name not in BACKENDS:
        near = get_close_matches(name, BACKENDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"unknown flow backend {name!r}; {hint}there are auto, {', '.join(BACKENDS)}"
        )
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
