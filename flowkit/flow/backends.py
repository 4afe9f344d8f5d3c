"""List the TV-L1 backends, find out which of them can run here, and load one.

A backend is a module with

    solve_pairs(frames0_NHW, frames1_NHW, params) -> flows_NHW2    uint8 or float32 → float32

and, if it can prepare a frame once for the two pairs that the frame belongs to,

    solve_video(frames_THW, params) -> flows_NHW2                  N = T − 1

and, if it can quantize flow on the device that computed it,

    solve_video_quantized(frames_THW, params, bound) -> bytes_NHW2 uint8, as `quantize` gives

It may rely on what `flowkit.flow.solver` has checked: N ≥ 1, equal shapes and dtypes, finite values
in 0–255. Modules are imported when they are first used.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import distributions, version
from importlib.util import find_spec
from types import ModuleType

from flowkit.errors import FlowError, UsageError


@dataclass(frozen=True, slots=True)
class Backend:
    """The module of a backend, and how to find out whether it can run here.

    A GPU backend is called from several threads at once, and runs each thread's work in a separate
    CUDA stream.
    """

    module: str
    """Name of the module."""
    find_obstacle: Callable[[], str | None]
    """Returns the reason why the backend cannot run on this machine, or None if it can."""
    gpu: bool = False
    """Whether the backend runs on a GPU."""


def _find_numba_obstacle() -> str | None:
    """Find out why the numba backend cannot run here; None if it can."""
    return None if find_spec("numba") else "numba is not installed: pip install numba"


def _find_opencv_obstacle() -> str | None:
    """Find out why the opencv backend cannot run here; None if it can."""
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
    """Find out why the opencv-cuda backend cannot run here; None if it can."""
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
    """Find out why the triton backend cannot run here; None if it can."""
    if find_spec("torch") is None:
        return "torch is not installed: pip install torch"
    if find_spec("triton") is None:
        return f"torch {version('torch')} came without Triton: pip install its CUDA build"
    if is_interpreted():
        return find_interpreter_obstacle()
    if "+rocm" in version("torch"):
        return f"torch {version('torch')} is built for ROCm, but the kernels need CUDA"
    if count_gpus() == 0:
        return "there is no NVIDIA GPU here, or no driver for it"
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        return f"torch cannot be imported ({error}): install it again"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} cannot use the GPU: pip install its CUDA build"
    capability = torch.cuda.get_device_capability()
    if capability < MIN_CAPABILITY:
        name, required = torch.cuda.get_device_name(), ".".join(map(str, MIN_CAPABILITY))
        return f"{name} has compute capability {capability[0]}.{capability[1]}, below {required}"
    return None


def find_interpreter_obstacle() -> str | None:
    """Find out why Triton's interpreter cannot run the kernels.

    Returns:
        The reason in one line; None if the interpreter can run them.
    """
    if find_spec("torch") is None or find_spec("triton") is None:
        return "torch or Triton is not installed"
    installed = next(
        (found.version for name in TRITON_PACKAGES for found in distributions(name=name)), None
    )
    if installed is None:
        return (
            f"the version of Triton is unknown: none of {', '.join(TRITON_PACKAGES)} is installed"
        )
    if tuple(map(int, installed.split(".")[:2])) < MIN_INTERPRETER_VERSION:
        required = ".".join(map(str, MIN_INTERPRETER_VERSION))
        return f"the interpreter of Triton {installed} lacks nested tuples, which {required} has"
    return None


def is_interpreted() -> bool:
    """Return whether Triton's kernels run in its interpreter, which is on the CPU and slow."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def count_gpus() -> int:
    """Count the CUDA GPUs that the driver shows to this process, quickly and without torch."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def explain_fallback() -> str | None:
    """Explain why "auto" does not use a GPU that is present.

    Returns:
        One line; None if there is no GPU, or if "auto" uses it.
    """
    if is_interpreted():
        obstacle: str | None = "TRITON_INTERPRET=1 runs its kernels in an interpreter on the CPU"
    else:
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
"""The backends by name."""

# What "auto" tries, best first. The pyramid of opencv-cuda differs, so users must request it.
PREFERENCE = ("triton", "numba", "opencv")

TRITON_PACKAGES = ("triton", "pytorch-triton", "pytorch-triton-rocm", "pytorch-triton-xpu")
"""Packages that have Triton: builds of torch bring one of them."""
MIN_INTERPRETER_VERSION = (3, 7)
"""Oldest version of Triton whose interpreter runs the kernels; its compiler does from 3.4 on."""
MIN_CAPABILITY = (7, 5)
"""Lowest compute capability that the tests compile the kernels for."""


def available_backends() -> dict[str, str | None]:
    """Find out which backends can run here.

    Returns:
        For each backend None if it can run here, else the reason why not.
    """
    return {name: backend.find_obstacle() for name, backend in BACKENDS.items()}


def resolve_backend(name: str = "auto") -> str:
    """Choose the backend to run.

    Args:
        name: A key of `BACKENDS`, or "auto" for the best one that can run here.

    Returns:
        A key of `BACKENDS`.

    Raises:
        UsageError: No backend has that name.
        FlowError: The backend cannot run here.
    """
    if name == "auto":
        candidates = [name for name in PREFERENCE if name != "triton" or not is_interpreted()]
        obstacles = {candidate: BACKENDS[candidate].find_obstacle() for candidate in candidates}
        for candidate, obstacle in obstacles.items():
            if obstacle is None:
                return candidate
        reasons = "; ".join(f"{candidate}: {obstacle}" for candidate, obstacle in obstacles.items())
        raise FlowError(f"no flow backend can run here ({reasons})")
    obstacle = BACKENDS[check_backend(name)].find_obstacle()
    if obstacle is not None:
        raise FlowError(f"flow backend {name!r} cannot run here: {obstacle}")
    return name


def check_backend(name: str) -> str:
    """Check the name of a backend.

    Args:
        name: A key of `BACKENDS`, or "auto".

    Returns:
        The name.

    Raises:
        UsageError: No backend has that name.
    """
    if name != "auto" and name not in BACKENDS:
        matches = get_close_matches(name, BACKENDS, n=1)
        hint = f"did you mean {matches[0]!r}? " if matches else ""
        raise UsageError(
            f"unknown flow backend {name!r}; {hint}there are auto, {', '.join(BACKENDS)}"
        )
    return name


def load_backend(name: str) -> ModuleType:
    """Import the module of a backend.

    Args:
        name: A key of `BACKENDS`.

    Returns:
        The module.

    Raises:
        FlowError: The module cannot be loaded.
    """
    try:
        return import_module(BACKENDS[name].module)
    except ImportError as error:
        raise FlowError(
            f"flow backend {name!r} cannot be loaded ({error}): install versions of its packages "
            "that fit each other, or use another --backend"
        ) from error
    except RuntimeError as error:  # raised by Numba if it finds no writable folder
        raise FlowError(
            f"flow backend {name!r} cannot be loaded ({error}): "
            "set NUMBA_CACHE_DIR to a folder that can be written"
        ) from error
