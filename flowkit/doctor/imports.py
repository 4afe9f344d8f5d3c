"""Explain in one line why a package that flowkit needs cannot be imported, and how to repair it.

A package may be missing, too old, broken by an upgrade of another package, or linked to a system
library that this machine lacks, as the OpenCV builds with a GUI are.
"""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from textwrap import shorten
from types import TracebackType

from flowkit.installation import (
    DISTRIBUTION,
    PACKAGES,
    explain_foreign_package,
    find_other_distributions,
    normalize_name,
    read_requirements,
)

HEADLESS_OPENCV = "opencv-contrib-python-headless"
"""The OpenCV distribution that flowkit depends on."""
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", HEADLESS_OPENCV)
"""All OpenCV distributions; they install the same files."""
DISTRIBUTIONS = {
    "av": "av",
    "click": "click",
    "cv2": HEADLESS_OPENCV,
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "numba": "numba",
    "numpy": "numpy",
    "packaging": "packaging",
    "psutil": "psutil",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "ray": "ray",
    "rich": "rich",
    "safetensors": "safetensors",
    "simplejpeg": "simplejpeg",
    "sklearn": "scikit-learn",
    "tensorboardX": "tensorboardX",
    "torch": "torch",
    "yaml": "PyYAML",
}
"""Distribution of each module, for all dependencies in pyproject.toml."""
MISSING_LIBRARY = "cannot open shared object file"
"""What the dynamic linker reports if a system library is missing."""


def explain_import_error(error: Exception) -> str | None:
    """Say in one line which package cannot be imported, why, and which command repairs it.

    Args:
        error: An ImportError, or the OSError of a library that a package loads by itself.

    Returns:
        The line; None for an error that is not about a package that flowkit needs, such as a
        mistake in flowkit's own imports.
    """
    if not isinstance(error, ImportError) and MISSING_LIBRARY not in str(error):
        return None
    missing = (getattr(error, "name", None) or "").split(".")[0]
    if missing in PACKAGES:
        others = [other for other in find_other_distributions() if missing in other.packages]
        return explain_foreign_package(missing) if others else None
    module = missing if missing in DISTRIBUTIONS else find_failed_module(error)
    if module is None:
        return None
    cause = shorten(str(error), 300, placeholder=" …")
    if isinstance(error, ModuleNotFoundError):
        return explain_missing_module(module, missing, cause)
    if module == "cv2" and re.search(r"\blib\S+\.so\b", cause):
        return f"cv2 cannot be used ({cause}): {reinstall_opencv()}"
    name = DISTRIBUTIONS[module]
    return (
        f"{module} cannot be used ({cause}): "
        f"pip install --force-reinstall --no-deps '{find_requirement(name)}'; "
        "'flowkit doctor' shows what else is wrong"
    )


def explain_missing_module(module: str, missing: str, cause: str) -> str:
    """Explain that a module was not found.

    Args:
        module: Module of a dependency of flowkit whose import failed.
        missing: Module that was not found: the same, or one that it imports.
        cause: The error in one line.

    Returns:
        The explanation with the command that repairs it, in one line.
    """
    name = DISTRIBUTIONS[module]
    if missing == module and find_version(name) is None:
        return f"{name} is not installed: {format_repair(find_requirement(name))}"
    if missing == module:
        # Its metadata is there but its files are not, so pip would consider it installed.
        requirement = find_requirement(name)
        return f"{cause}: pip install --force-reinstall --no-deps '{requirement}'"
    return f"{module} cannot be used ({cause}): {format_repair(find_requirement(name))}"


def find_failed_module(error: BaseException) -> str | None:
    """Find which dependency of flowkit raised an error: the first one that the call entered.

    The error itself may name another module, such as pandas for Ray, or none.

    Args:
        error: The error.

    Returns:
        The module of the dependency; None if the error was not raised in one.
    """
    failed = None
    for name in iterate_frames(error.__traceback__):
        module = name.split(".")[0]
        if module in PACKAGES:
            failed = None  # only what our innermost frame imported counts
        elif failed is None and module in DISTRIBUTIONS and not name.startswith("click."):
            failed = module  # click.core's frames are above those of every command
    return failed


def iterate_frames(traceback: TracebackType | None) -> Iterator[str]:
    """Iterate over the modules of the frames of a traceback.

    Args:
        traceback: Traceback of an exception.

    Yields:
        Name of the module of each frame, outermost first.
    """
    while traceback is not None:
        yield str(traceback.tb_frame.f_globals.get("__name__", ""))
        traceback = traceback.tb_next


def format_repair(*requirements: str) -> str:
    """Format the command that brings packages into the ranges that flowkit declares."""
    return " ".join(("pip install", DISTRIBUTION, *(f"'{item}'" for item in requirements)))


def reinstall_opencv(installed: tuple[str, ...] | None = None) -> str:
    """Format the commands that leave the headless build as the only installed OpenCV.

    Args:
        installed: The installed OpenCV distributions (default: they are looked up).

    Returns:
        The commands in one line.
    """
    if installed is None:
        installed = tuple(name for name in OPENCV if find_version(name))
    remove = f"pip uninstall -y {' '.join(installed)}, then " if installed else ""
    requirement = find_requirement(HEADLESS_OPENCV)
    return f"{remove}pip install --force-reinstall --no-deps '{requirement}'"


def find_requirement(name: str) -> str:
    """Find the requirement that flowkit declares for a distribution.

    Args:
        name: Name of the distribution.

    Returns:
        The requirement, such as ``numpy>=2.1,<3``; the bare name if there is none.
    """
    for line in read_requirements():
        requirement = line.partition(";")[0].strip()
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and normalize_name(match.group()) == normalize_name(name):
            return requirement.replace(" ", "")
    return name


def find_version(name: str) -> str | None:
    """Find the installed version of a distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
