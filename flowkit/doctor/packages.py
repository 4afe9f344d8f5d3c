"""Is Python right, are the packages those that flowkit asks for, and does anything hide ours?"""

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from flowkit.doctor.finding import Finding
from flowkit.doctor.shadowing import INSTALLED, PACKAGES, find_shadows

OLDEST_PYTHON = (3, 11)
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def check_python(found: tuple[int, ...] = sys.version_info[:3]) -> list[Finding]:
    """Whether this Python is new enough."""
    name = ".".join(map(str, found))
    if found[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return [Finding("python", "fail", f"Python {name}", f"use Python {wanted} or newer")]
    return [Finding("python", "ok", f"Python {name} at {sys.executable}")]


def installed_version(name: str) -> str | None:
    """The installed version of a distribution, None if it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_packages(distribution: str = "flowkit") -> list[Finding]:
    """Each package that flowkit needs, against the range that it declares and the tested pin."""
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in requires(distribution) or []]
    except PackageNotFoundError:
        advice = "install it with pip, so that its packages come along"
        return [Finding("packages", "warn", f"{distribution} is not installed", advice)]
    needed = [item for item in declared if not item.marker or item.marker.evaluate({"extra": ""})]
    ranges = {item.name: str(item.specifier) for item in needed}
    found = {name: installed_version(name) for name in ranges}
    return compare_versions(ranges, found, read_pins()) + check_opencv()


def compare_versions(
    ranges: Mapping[str, str], found: Mapping[str, str | None], pins: Mapping[str, str]
) -> list[Finding]:
    """A fail for each package that is absent or out of its range, and one finding for the rest."""
    from packaging.specifiers import SpecifierSet
    from packaging.utils import canonicalize_name

    findings, untested = [], []
    for name, wanted in ranges.items():
        have = found[name]
        if have is None or not SpecifierSet(wanted).contains(have, prereleases=True):
            message = f"{name} {wanted} is needed, {have or 'none'} is installed"
            findings.append(Finding("packages", "fail", message, f"pip install '{name}{wanted}'"))
        elif have != (pin := pins.get(canonicalize_name(name), have)):
            untested.append(f"{name} {have} (tested: {pin})")
    if findings:
        return findings
    names = ", ".join(f"{name} {have}" for name, have in found.items())
    if untested:
        message = f"within their ranges, other than tested: {', '.join(untested)}"
        advice = "if something fails: pip install -c constraints.txt flowkit"
        return [Finding("packages", "ok", message, advice)]
    return [Finding("packages", "ok", names)]


def read_pins() -> dict[str, str]:
    """The tested versions, by normalized name; empty where constraints.txt did not come along."""
    from packaging.utils import canonicalize_name

    package = Path(__file__).resolve().parents[1]
    for path in (package / "constraints.txt", package.parent / "constraints.txt"):
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            pairs = (line.partition("==") for line in lines if "==" in line)
            return {canonicalize_name(name.strip()): pin.strip() for name, _, pin in pairs}
    return {}


def check_opencv(found: tuple[str, ...] | None = None) -> list[Finding]:
    """Several OpenCV packages overwrite each other's files, and ``cv2.optflow`` goes missing."""
    if found is None:
        found = tuple(name for name in OPENCV if installed_version(name))
    if len(found) < 2:
        return []
    advice = f"pip uninstall {' '.join(found)}, then pip install opencv-contrib-python"
    message = f"{' and '.join(found)} are installed over each other"
    return [Finding("packages", "warn", message, advice)]


def check_names(
    folder: Path | None = None, installed: Path = INSTALLED, path: list[str] | None = None
) -> list[Finding]:
    """Whether files here, or on ``path`` (sys.path), hide ``flowkit``, ``models`` or ``train``.

    ``folder``: where scripts will be run from (default: the working folder).
    """
    findings = [
        Finding("names", "fail", shadow.message) for shadow in find_shadows(path, installed)
    ]
    folder = (folder or Path.cwd()).resolve()
    here = [] if folder == installed else find_shadows([str(folder)], installed)
    findings += [
        Finding("names", "warn", f"a script in this folder would go wrong: {shadow.message}")
        for shadow in here
    ]
    names = ", ".join(PACKAGES)
    return findings or [Finding("names", "ok", f"nothing hides {names}")]
