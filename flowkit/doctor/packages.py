"""Is Python right, are the packages those that flowkit asks for, and does anything hide ours?"""

import sys
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from flowkit.doctor.finding import Finding, Status
from flowkit.doctor.imports import (
    HEADLESS_OPENCV,
    OPENCV,
    find_version,
    format_repair,
    reinstall_opencv,
)
from flowkit.doctor.shadowing import INSTALLED, find_shadows
from flowkit.installation import (
    DISTRIBUTION,
    PACKAGES,
    REINSTALL,
    find_changed_files,
    find_other_distributions,
)

OLDEST_PYTHON = (3, 11)


def check_python(found: tuple[int, ...] = sys.version_info[:3]) -> list[Finding]:
    """Whether this Python is new enough."""
    name = ".".join(map(str, found))
    if found[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return [Finding("python", "fail", f"Python {name}", f"use Python {wanted} or newer")]
    return [Finding("python", "ok", f"Python {name} at {sys.executable}")]


def check_packages(distribution: str = DISTRIBUTION) -> list[Finding]:
    """Each package that flowkit needs, against the range that it declares and the tested pin."""
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in requires(distribution) or []]
    except PackageNotFoundError:
        advice = f"pip install {distribution}, so that its packages come along"
        return [Finding("packages", "warn", f"{distribution} is not installed", advice)]
    needed = [item for item in declared if not item.marker or item.marker.evaluate({"extra": ""})]
    ranges = {item.name: str(item.specifier) for item in needed}
    found = {name: find_version(name) for name in ranges}
    choose_opencv(ranges, found)
    return compare_versions(ranges, found, read_pins()) + check_opencv()


def choose_opencv(ranges: dict[str, str], found: dict[str, str | None]) -> None:
    """Accept the build of OpenCV with windows where it is installed instead of the headless one."""
    windowed = "opencv-contrib-python"
    if HEADLESS_OPENCV in ranges and found[HEADLESS_OPENCV] is None and find_version(windowed):
        ranges[windowed] = ranges.pop(HEADLESS_OPENCV)
        del found[HEADLESS_OPENCV]
        found[windowed] = find_version(windowed)


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
            repair = format_repair(f"{name}{wanted}")
            findings.append(Finding("packages", "fail", message, repair))
        elif have != (pin := pins.get(canonicalize_name(name), have)):
            untested.append(f"{name} {have} (tested: {pin})")
    if findings:
        return findings
    names = ", ".join(f"{name} {have}" for name, have in found.items())
    if untested:
        message = f"within their ranges, other than tested: {', '.join(untested)}"
        advice = f"if something fails: pip install -c constraints.txt {DISTRIBUTION}"
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
        found = tuple(name for name in OPENCV if find_version(name))
    if len(found) < 2:
        return []
    message = f"{' and '.join(found)} are installed over each other"
    return [Finding("packages", "warn", message, reinstall_opencv(found))]


def check_distributions(
    path: list[str] | None = None, known: Collection[Path] = ()
) -> list[Finding]:
    """Whether another project's distribution has packages of our names, or overwrote our files.

    Args:
        path: Folders to search for metadata, as in ``sys.path`` (the default).
        known: Folders whose distributions are reported already.
    """
    changed = find_changed_files(path)
    others = [item for item in find_other_distributions(path) if item.folder not in known]
    status: Status = "fail" if changed else "warn"
    findings = [Finding("names", status, item.message, item.remedy) for item in others]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        message = f"files of {DISTRIBUTION} are missing or changed: {', '.join(changed[:3])}{more}"
        advice = f"{REINSTALL}{', after the line above' if others else ''}"
        findings.append(Finding("names", "fail", message, advice))
    return findings


def check_names(
    folder: Path | None = None, installed: Path = INSTALLED, path: list[str] | None = None
) -> list[Finding]:
    """Whether files here, or on ``path`` (sys.path), hide ``flowkit``, ``models`` or ``train``.

    ``folder``: where scripts will be run from (default: the working folder).
    """
    shadows = find_shadows(path, installed)
    findings = [Finding("names", "fail", shadow.message, shadow.remedy) for shadow in shadows]
    folder = (folder or Path.cwd()).resolve()
    here = [] if folder == installed else find_shadows([str(folder)], installed)
    findings += [
        Finding("names", "warn", f"a script here would go wrong: {shadow.message}", shadow.remedy)
        for shadow in here
    ]
    findings += check_distributions(path, {shadow.path.parent for shadow in shadows})
    names = ", ".join(PACKAGES)
    return findings or [Finding("names", "ok", f"nothing hides {names}")]
