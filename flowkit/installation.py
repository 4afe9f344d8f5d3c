"""Check that what Python imports as ``flowkit``, ``models`` and ``train`` is this distribution's.

This distribution is called ``flowkit-video``, because ``flowkit`` on the package index is a toolkit
for flow cytometry, which installs a package ``flowkit``, too. With both in one environment, the one
that was installed last has overwritten ``flowkit/__init__.py`` of the other, and uninstalling
either one removes that file of both.

Only the standard library is used, and nothing of flowkit is imported: ``flowkit_video.py`` loads
this file by its path where ``import flowkit`` gives another project's package. All metadata is
read only if something is wrong, and by ``flowkit doctor``.
"""

import base64
import csv
import hashlib
import re
import sys
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

DISTRIBUTION = "flowkit-video"
OWN_PACKAGES = ("flowkit", "models", "train")
REINSTALL = f"pip install --force-reinstall --no-deps {DISTRIBUTION}"
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class ClashingDistribution:
    """Another project's distribution that installs packages with the names of ours."""

    name: str
    """Name of the distribution, as pip knows it."""
    version: str
    """Version of the distribution."""
    packages: tuple[str, ...]
    """Which of ``flowkit``, ``models`` and ``train`` it installs."""
    folder: Path
    """Folder where it is installed, such as ``…/site-packages``."""

    @property
    def message(self) -> str:
        """What is wrong, in one line."""
        packages = " and ".join(map(repr, self.packages))
        return (
            f"{self.name} {self.version}, another project, installs {packages}, too, in "
            f"{self.folder}: it and {DISTRIBUTION} cannot be in one environment"
        )

    @property
    def advice(self) -> str:
        """What to do: the commands that leave our packages installed."""
        return f"pip uninstall {self.name}, then {REINSTALL}"


def find_clashing_distributions(path: list[str] | None = None) -> list[ClashingDistribution]:
    """Find the distributions of other projects that install packages with the names of ours.

    Args:
        path: Folders to search, as in ``sys.path`` (the default).

    Returns:
        One for each name and folder: its metadata may be found twice.
    """
    others: dict[tuple[str, Path], ClashingDistribution] = {}
    for installed in distributions(path=sys.path if path is None else path):
        # Metadata without a name are left by an installation of pip that failed.
        name = installed.metadata["Name"] or ""
        if not name or normalize_name(name) == DISTRIBUTION:
            continue
        packages = tuple(package for package in OWN_PACKAGES if has_package(installed, package))
        if packages:
            folder = Path(str(installed.locate_file(""))).resolve()
            other = ClashingDistribution(name, installed.version, packages, folder)
            others.setdefault((name, folder), other)
    return list(others.values())


def has_package(installed: Distribution, package: str) -> bool:
    """Return whether a distribution installs Python code named ``package``.

    Data files alone do not count: an editable installation of flowkit has them.
    """
    record = installed.read_text("RECORD")
    if record is None:
        return package in (installed.read_text("top_level.txt") or "").split()
    suffixes = "|".join(map(re.escape, [".py", *EXTENSION_SUFFIXES]))
    return re.search(rf"^\"?{package}(/[^,\"]*)?({suffixes})\"?,", record, re.MULTILINE) is not None


def normalize_name(name: str) -> str:
    """Return the name of a distribution as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_changed_files(path: list[str] | None = None) -> list[str]:
    """Find files of this distribution that are missing, or have changed since the installation.

    Args:
        path: Folders to search for its metadata, as in ``sys.path`` (the default).

    Returns:
        Their paths relative to the folder of installation; nothing for an editable installation,
        nor where flowkit is not installed.
    """
    matches = distributions(name=DISTRIBUTION, path=sys.path if path is None else path)
    installed = next(iter(matches), None)
    record = installed.read_text("RECORD") if installed else None
    if installed is None or record is None:
        return []
    changed = []
    for row in csv.reader(record.splitlines()):
        name, digest = row[0], row[1]
        module = name.split("/")[0].removesuffix(".py")
        if not digest or module not in (*OWN_PACKAGES, "flowkit_video"):
            continue
        file = Path(str(installed.locate_file(name)))
        if not file.is_file() or f"sha256={hash_file(file)}" != digest:
            changed.append(name)
    return changed


def hash_file(file: Path) -> str:
    """Compute the SHA-256 of a file, written as in a wheel's RECORD."""
    digest = hashlib.sha256(file.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def explain_name_clash(package: str) -> str:
    """Explain in one line why ``import PACKAGE`` does not find ours, and what to do about it."""
    others = [other for other in find_clashing_distributions() if package in other.packages]
    if others:
        return f"{others[0].message}. Run: {others[0].advice}"
    expected = ROOT / package / "__init__.py"
    origin = getattr(sys.modules.get(package), "__file__", None)
    if origin is not None and Path(origin).resolve() != expected:
        return (
            f"'import {package}' finds {origin} instead of {expected}; rename that file or folder, "
            "or remove its folder from PYTHONPATH"
        )
    state = "belongs to another project" if expected.is_file() else "is missing"
    return f"{expected} {state}; another project with that name was installed. Run: {REINSTALL}"


def require_own_package() -> None:
    """Raise an ImportError if ``flowkit/__init__.py`` is another project's."""
    module = sys.modules["flowkit"]
    if getattr(module, "__distribution__", None) != DISTRIBUTION:
        raise ImportError(explain_name_clash("flowkit"), name="flowkit")


def read_requirements() -> list[str]:
    """Read what the installed distribution requires; empty if it is not installed."""
    try:
        return distribution(DISTRIBUTION).requires or []
    except PackageNotFoundError:
        return []
