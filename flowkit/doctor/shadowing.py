"""Find files that hide the packages ``flowkit``, ``models`` and ``train`` from an import.

These names are general: a ``train.py`` or ``models/`` beside a script comes before the installed
packages in ``sys.path``, in Ray workers too.
"""

from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from flowkit.installation import OWN_PACKAGES, ROOT, find_clashing_distributions


@dataclass(frozen=True, slots=True)
class Shadow:
    """A file or folder that hides one of our packages."""

    name: str
    """Name of the package."""
    path: Path
    """The file or folder that an import of the name finds."""
    expected: Path
    """The folder that it should find."""

    @property
    def message(self) -> str:
        """What is wrong, in one line."""
        return f"'import {self.name}' finds {self.path} instead of {self.expected}"

    @property
    def advice(self) -> str:
        """What to do, in one line."""
        for other in find_clashing_distributions([str(self.path.parent)]):
            if self.name in other.packages:
                return f"it belongs to {other.name} {other.version}: {other.advice}"
        return "rename that file or folder, or remove its folder from PYTHONPATH"


def find_shadows(path: list[str] | None = None, installed: Path = ROOT) -> list[Shadow]:
    """Find the packages that an import would not find, without importing anything.

    Args:
        path: Folders from which modules are imported (default: ``sys.path``).
        installed: Folder that holds our packages; those that are not in it are not checked.

    Returns:
        What hides each hidden package.
    """
    shadows = []
    for name in OWN_PACKAGES:
        expected = installed / name
        spec = PathFinder.find_spec(name, path)  # None searches sys.path
        if not (expected / "__init__.py").is_file() or spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin).resolve()
        if origin != (expected / "__init__.py").resolve():
            shadow = origin.parent if origin.name == "__init__.py" else origin
            shadows.append(Shadow(name, shadow, expected))
    return shadows
