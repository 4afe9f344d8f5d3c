"""Turn the failed import of a package that flowkit needs into one line with the remedy.

A package may be missing, too old, broken by an upgrade of another one, or linked to a system
library that this machine lacks, as the OpenCV builds with windows are.
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
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    HEADLESS_OPENCV,
)
# Module → distribution, for everything that pyproject.toml names.
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
MISSING_LIBRARY = "cannot open shared object file"


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
    """The line for a module that is not there: one of ours, or one that ours need."""
    name = DISTRIBUTIONS[module]
    if missing == module and find_version(name) is None:
        return f"{name} is not installed: {format_repair(find_requirement(name))}"
    if missing == module:
        # Its metadata is there, its files are not: pip would take it for installed.
        requirement = find_requirement(name)
        return f"{cause}: pip install --force-reinstall --no-deps '{requirement}'"
    return f"{module} cannot be used ({cause}): {format_repair(find_requirement(name))}"


def find_failed_module(error: BaseException) -> str | None:
    """Find which package that flowkit needs raised the error: the first one that the call entered.

    The error itself may name another module, such as pandas for Ray, or none.
    """
    failed = None
    for name in iterate_frames(error.__traceback__):
        module = name.split(".")[0]
        if module in PACKAGES:
            failed = None  # what matters is what our innermost frame imported
        elif failed is None and module in DISTRIBUTIONS and not name.startswith("click."):
            failed = module  # click.core's frames are above those of every command
    return failed


def iterate_frames(traceback: TracebackType | None) -> Iterator[str]:
    """The names of the modules whose frames an exception passed, outermost first."""
    while traceback is not None:
        yield str(traceback.tb_frame.f_globals.get("__name__", ""))
        traceback = traceback.tb_next


def format_repair(*requirements: str) -> str:
    """The command that brings packages into the ranges that flowkit declares."""
    return " ".join(("pip install", DISTRIBUTION, *(f"'{item}'" for item in requirements)))


def reinstall_opencv(installed: tuple[str, ...] | None = None) -> str:
    """The commands that leave the headless build as the only OpenCV here.

    Args:
        installed: The OpenCV distributions that are here (default: they are looked for).
    """
    if installed is None:
        installed = tuple(name for name in OPENCV if find_version(name))
    remove = f"pip uninstall -y {' '.join(installed)}, then " if installed else ""
    requirement = find_requirement(HEADLESS_OPENCV)
    return f"{remove}pip install --force-reinstall --no-deps '{requirement}'"


def find_requirement(name: str) -> str:
    """What flowkit declares of a distribution, such as ``numpy>=2.1,<3``; else the bare name."""
    for line in read_requirements():
        requirement = line.partition(";")[0].strip()
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and normalize_name(match.group()) == normalize_name(name):
            return requirement.replace(" ", "")
    return name


def find_version(name: str) -> str | None:
    """The installed version of a distribution, None if it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
