"""Import torchvision, for RAFT and timm, also where its compiled operators do not load.

torchvision's compiled operators (non-maximum suppression, RoI pooling, …) load only with the
build of PyTorch that they were compiled for. A common environment in which they do not is a
CPU build of PyTorch with the torchvision of the package index, which is compiled for CUDA: pip
accepts the pair, since the version numbers agree. ``import torchvision`` then fails, because it
registers two of the missing operators by name, although neither RAFT nor timm's networks use them:
they are made of PyTorch's own operators.

Only after such a failure, the two names are declared here, without implementations, and the import
is repeated. Detection networks, which call these operators, do not work in that environment with
or without the declaration. Where the operators load, nothing is declared.
"""

import re
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

INSTALL_COMMAND = "pip install 'flowkit-video[learned]'"
"""Command that installs torchvision."""
MISSING_OPERATOR = re.compile(r"operator torchvision::\w+ does not exist")
"""The error of ``import torchvision`` if the compiled operators did not load."""
OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""The operators that ``import torchvision`` registers by name, with their types."""

_declarations: list[Any] = []  # PyTorch forgets the operators when this object is deleted


class TorchvisionError(Exception):
    """torchvision cannot be imported; the message says why and what to do."""


@cache
def import_raft() -> ModuleType:
    """Import torchvision's module of RAFT.

    Returns:
        The module ``torchvision.models.optical_flow``.

    Raises:
        TorchvisionError: torchvision is not installed, or cannot be imported.
    """
    return import_torchvision("torchvision.models.optical_flow")


def import_torchvision(module: str = "torchvision") -> ModuleType:
    """Import torchvision, and a module of it.

    Args:
        module: Name of the module. Default: torchvision itself.

    Returns:
        The module.

    Raises:
        TorchvisionError: torchvision is not installed, or cannot be imported.
    """
    if find_spec("torchvision") is None:
        raise TorchvisionError(f"torchvision is not installed: {INSTALL_COMMAND}")
    try:
        try:
            import_module("torchvision")
        except RuntimeError as error:
            if _declarations or not MISSING_OPERATOR.search(str(error)):
                raise
            declare_operators()
        return import_module(module)
    except Exception as error:  # a broken installation raises almost anything
        reason = " ".join(str(error).split())[:200]
        raise TorchvisionError(
            f"torchvision {find_version('torchvision')} cannot be imported with torch "
            f"{find_version('torch')} ({reason}): install the version of torchvision that belongs "
            "to this version of torch, from the same package index"
        ) from error


def declare_operators() -> None:
    """Declare torchvision's operators to PyTorch by name and type, without implementations."""
    library = import_module("torch.library").Library("torchvision", "DEF")
    _declarations.append(library)
    for operator in OPERATORS:
        library.define(operator)


def find_obstacle() -> str | None:
    """Find out why torchvision's RAFT cannot be used here.

    Returns:
        The reason in one line, with what to do; None if it can be used.
    """
    try:
        import_raft()
    except TorchvisionError as error:
        return str(error)
    return None


def find_version(distribution: str) -> str:
    """Return the installed version of a distribution, or "(unknown version)"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(unknown version)"
