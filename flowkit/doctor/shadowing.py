"""Names of ours that a file of somebody else's hides, or will hide.

``flowkit``, ``models`` and ``train`` are general names: a ``train.py`` or ``models/`` beside a
script comes before them in ``sys.path``, in Ray workers too.
"""

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from flowkit.installation import PACKAGES, ROOT, find_other_distributions

INSTALLED = ROOT


@dataclass(frozen=True, slots=True)
class Shadow:
    """``path`` is what ``import name`` gives (or would give), instead of ``expected``."""

    name: str
    path: Path
    expected: Path

    @property
    def message(self) -> str:
        """What is wrong, in one line."""
        return f"'import {self.name}' finds {self.path} instead of {self.expected}"

    @property
    def remedy(self) -> str:
        """What to do, in one line."""
        for other in find_other_distributions([str(self.path.parent)]):
            if self.name in other.packages:
                return f"it belongs to {other.name} {other.version}: {other.remedy}"
        return "rename that file or folder, or take its folder off PYTHONPATH"


def find_shadows(
    path: list[str] | None = None,
    installed: Path = INSTALLED,
    packages: tuple[str, ...] = PACKAGES,
) -> list[Shadow]:
    """The packages below ``installed`` that an import along ``path`` (sys.path) does not find.

    Nothing is imported. A package that is not installed is not looked for.
    """
    shadows = []
    for name in packages:
        expected = installed / name
        if not (expected / "__init__.py").is_file():
            continue
        spec = PathFinder.find_spec(name, sys.path if path is None else path)
        if spec is None or spec.origin is None:
            continue
        found = Path(spec.origin).resolve()
        if found != (expected / "__init__.py").resolve():
            shadow = found.parent if found.name == "__init__.py" else found
            shadows.append(Shadow(name, shadow, expected))
    return shadows
