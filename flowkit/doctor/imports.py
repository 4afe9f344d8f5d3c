"""Explain in one line why a package that flowkit needs cannot be imported, and what to do about it.

A package may be missing, too old, broken by an upgrade of another package, or linked to a system
library that this machine lacks, as the OpenCV builds with a GUI are.
"""

import re
from importlib.metadata import PackageNotFoundError, version
from textwrap import shorten
from traceback import walk_tb

from flowkit.installation import (
    DISTRIBUTION,
    OWN_PACKAGES,
    explain_name_clash,
    find_clashing_distributions,
    normalize_name,
    read_requirements,
)

HEADLESS_OPENCV = "opencv-contrib-python-headless"
"""The OpenCV distribution that flowkit depends on."""
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", HEADLESS_OPENCV)
"""All OpenCV distributions; they install the same files."""
DISTRIBUTIONS = {
    "cv2": HEADLESS_OPENCV, "sklearn": "scikit-learn", "yaml": "PyYAML",
    "av": "av", "click": "click", "jinja2": "jinja2", "matplotlib": "matplotlib", "numba": "numba",
    "numpy": "numpy", "packaging": "packaging", "psutil": "psutil", "pyarrow": "pyarrow",
    "pydantic": "pydantic", "ray": "ray", "rich": "rich", "safetensors": "safetensors",
    "simplejpeg": "simplejpeg", "starlette": "starlette", "tensorboardX": "tensorboardX",
    "torch": "torch", "uvicorn": "uvicorn",
}  # fmt: skip
"""Distribution of each module, for all dependencies in pyproject.toml."""
MISSING_LIBRARY = "cannot open shared object file"
"""What the dynamic linker reports if a system library is missing."""


def explain_import_error(error: Exception) -> str | None:
    """Describe in one line which package cannot be imported, why, and which command helps.

    Args:
        error: An ImportError, or the OSError of a library that a package loads by itself.

    Returns:
        The line; None for an error that is not about a package that flowkit needs, such as a
        mistake in flowkit's own imports.
    """
    if not isinstance(error, ImportError) and MISSING_LIBRARY not in str(error):
        return None
    missing = (getattr(error, "name", None) or "").split(".")[0]
    if missing in OWN_PACKAGES:
        others = [other for other in find_clashing_distributions() if missing in other.packages]
        return explain_name_clash(missing) if others else None
    module = missing if missing in DISTRIBUTIONS else find_failed_module(error)
    if module is None:
        return None
    cause, distribution = shorten(str(error), 300, placeholder=" …"), DISTRIBUTIONS[module]
    requirement = find_requirement(distribution)
    reinstall = f"pip install --force-reinstall --no-deps '{requirement}'"
    if isinstance(error, ModuleNotFoundError):
        install = format_install_command(requirement)
        if missing != module:
            return f"{module} cannot be used ({cause}): {install}"
        if find_version(distribution) is None:
            return f"{distribution} is not installed: {install}"
        # Its metadata is there but its files are not, so pip would consider it installed.
        return f"{cause}: {reinstall}"
    if module == "cv2" and re.search(r"\blib\S+\.so\b", cause):
        return f"cv2 cannot be used ({cause}): {reinstall_opencv(find_installed_opencv())}"
    return (
        f"{module} cannot be used ({cause}): {reinstall}; 'flowkit doctor' shows what else is wrong"
    )


def find_failed_module(error: BaseException) -> str | None:
    """Find which dependency of flowkit raised an error: the first one that the call entered.

    The error itself may name another module, such as pandas for Ray, or none.

    Args:
        error: The error.

    Returns:
        The module of the dependency; None if the error was not raised in one.
    """
    failed = None
    for frame, _ in walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", ""))
        module = name.split(".")[0]
        if module in OWN_PACKAGES:
            failed = None  # only what our innermost frame imported counts
        elif failed is None and module in DISTRIBUTIONS and not name.startswith("click."):
            failed = module  # click.core's frames are above those of every command
    return failed


def format_install_command(*requirements: str) -> str:
    """Format the command that installs versions within the ranges that flowkit declares."""
    return " ".join(("pip install", DISTRIBUTION, *(f"'{item}'" for item in requirements)))


def reinstall_opencv(installed: tuple[str, ...]) -> str:
    """Format the commands that leave the headless build as the only installed OpenCV.

    Args:
        installed: The installed OpenCV distributions.

    Returns:
        The commands in one line.
    """
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


def find_installed_opencv() -> tuple[str, ...]:
    """Find the installed OpenCV distributions."""
    return tuple(name for name in OPENCV if find_version(name))


def find_version(name: str) -> str | None:
    """Find the installed version of a distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
