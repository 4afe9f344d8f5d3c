"""Check the versions of Python and of packages, and that nothing hides flowkit's own packages."""

import sys
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from flowkit.doctor.finding import Finding, Status
from flowkit.doctor.imports import (
    HEADLESS_OPENCV,
    find_installed_opencv,
    find_version,
    format_install_command,
    reinstall_opencv,
)
from flowkit.doctor.shadowing import find_shadows
from flowkit.installation import (
    DISTRIBUTION,
    OWN_PACKAGES,
    REINSTALL,
    ROOT,
    find_changed_files,
    find_clashing_distributions,
)

OLDEST_PYTHON = (3, 11)
"""Oldest supported version of Python."""


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> list[Finding]:
    """Check that Python is new enough.

    Args:
        version: Version of Python (default: that of this process).

    Returns:
        One finding.
    """
    name = ".".join(map(str, version))
    if version[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return [Finding("python", "fail", f"Python {name}", f"use Python {oldest} or newer")]
    return [Finding("python", "ok", f"Python {name} at {sys.executable}")]


def check_packages(distribution: str = DISTRIBUTION) -> list[Finding]:
    """Check each dependency against the version range that flowkit declares and the tested version.

    Args:
        distribution: Distribution whose dependencies are checked.

    Returns:
        The findings.
    """
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in requires(distribution) or []]
    except PackageNotFoundError:
        advice = f"pip install {distribution}, which also installs the packages that it needs"
        return [Finding("packages", "warn", f"{distribution} is not installed", advice)]
    needed = [item for item in declared if not item.marker or item.marker.evaluate({"extra": ""})]
    ranges = {choose_build(item.name): str(item.specifier) for item in needed}
    installed = {name: find_version(name) for name in ranges}
    findings = compare_versions(ranges, installed, read_tested_versions())
    return findings + check_opencv(find_installed_opencv())


def choose_build(distribution: str) -> str:
    """Return the OpenCV build with a GUI if it is installed instead of the headless build."""
    with_gui = "opencv-contrib-python"
    accepts_gui = distribution == HEADLESS_OPENCV and find_version(HEADLESS_OPENCV) is None
    return with_gui if accepts_gui and find_version(with_gui) else distribution


def compare_versions(
    ranges: Mapping[str, str], installed: Mapping[str, str | None], tested: Mapping[str, str]
) -> list[Finding]:
    """Compare installed versions with declared ranges and tested versions.

    Args:
        ranges: Declared version ranges by distribution.
        installed: Installed versions by distribution; None for one that is not installed.
        tested: Tested versions by normalized name.

    Returns:
        A ``fail`` for each distribution that is missing or out of its range; otherwise one
        finding with the untested versions, or with all versions if all are tested.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.utils import canonicalize_name

    findings, untested = [], []
    for name, declared in ranges.items():
        version = installed[name]
        tested_version = tested.get(canonicalize_name(name), version)
        if version is None or not SpecifierSet(declared).contains(version, prereleases=True):
            message = f"{name} {declared} is needed, {version or 'none'} is installed"
            advice = format_install_command(f"{name}{declared}")
            findings.append(Finding("packages", "fail", message, advice))
        elif version != tested_version:
            untested.append(f"{name} {version} (tested: {tested_version})")
    if findings:
        return findings
    if untested:
        message = f"within their ranges, but not the tested versions: {', '.join(untested)}"
        advice = f"if something fails: pip install -c constraints.txt {DISTRIBUTION}"
        return [Finding("packages", "ok", message, advice)]
    versions = ", ".join(f"{name} {version}" for name, version in installed.items())
    return [Finding("packages", "ok", versions)]


def read_tested_versions() -> dict[str, str]:
    """Read the tested versions from constraints.txt.

    Returns:
        Version of each distribution by normalized name; empty if the file was not installed.
    """
    from packaging.utils import canonicalize_name

    package = Path(__file__).resolve().parents[1]
    for path in (package / "constraints.txt", package.parent / "constraints.txt"):
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            pairs = (line.partition("==") for line in lines if "==" in line)
            return {canonicalize_name(name.strip()): text.strip() for name, _, text in pairs}
    return {}


def check_opencv(installed: tuple[str, ...]) -> list[Finding]:
    """Check that there is only one OpenCV distribution.

    Several of them overwrite each other's files, so that ``cv2.optflow`` may be missing.

    Args:
        installed: The installed OpenCV distributions.

    Returns:
        A warning if there are several, else nothing.
    """
    if len(installed) < 2:
        return []
    message = f"{' and '.join(installed)} are installed over each other"
    return [Finding("packages", "warn", message, reinstall_opencv(installed))]


def check_distributions(
    path: list[str] | None = None, reported: Collection[Path] = ()
) -> list[Finding]:
    """Check that no other distribution has packages of our names or overwrote our files.

    Args:
        path: Folders to search for metadata (default: ``sys.path``).
        reported: Folders that `check_names` has reported already.

    Returns:
        A finding for each problem.
    """
    changed = find_changed_files(path)
    others = [item for item in find_clashing_distributions(path) if item.folder not in reported]
    status: Status = "fail" if changed else "warn"
    findings = [Finding("names", status, item.message, item.advice) for item in others]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        message = f"files of {DISTRIBUTION} are missing or changed: {', '.join(changed[:3])}{more}"
        advice = f"{REINSTALL}{', after the removal above' if others else ''}"
        findings.append(Finding("names", "fail", message, advice))
    return findings


def check_names(
    folder: Path | None = None, installed: Path = ROOT, path: list[str] | None = None
) -> list[Finding]:
    """Check that no file hides ``flowkit``, ``models`` or ``train``.

    Args:
        folder: Folder from which scripts will be run (default: the working folder).
        installed: Folder that holds our packages.
        path: Folders from which modules are imported (default: ``sys.path``).

    Returns:
        A finding for each problem, or one ``ok``.
    """
    shadows = find_shadows(path, installed)
    findings = [Finding("names", "fail", shadow.message, shadow.advice) for shadow in shadows]
    folder = (folder or Path.cwd()).resolve()
    for shadow in [] if folder == installed else find_shadows([str(folder)], installed):
        message = f"a script in this folder would go wrong: {shadow.message}"
        findings.append(Finding("names", "warn", message, shadow.advice))
    findings += check_distributions(path, {shadow.path.parent for shadow in shadows})
    return findings or [Finding("names", "ok", f"nothing hides {', '.join(OWN_PACKAGES)}")]
