"""Read the lower end of every range in pyproject.toml, for tests with the oldest packages.

python tests/matrix/requirements.py > oldest.txt     a constraints file for pip
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def read_lowest_versions(pyproject: Path) -> list[str]:
    """Read the lower end of each dependency's range, as lines of a constraints file.

    Args:
        pyproject: A pyproject.toml; its optional dependencies are left out.

    Returns:
        Lines such as ``numpy==2.1``, without extras, which pip refuses in constraints.

    Raises:
        ValueError: A dependency has no lower end, or a form that is not understood, such as an
            environment marker.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return [pin_lowest_version(line) for line in project["dependencies"]]


def pin_lowest_version(requirement: str) -> str:
    """Turn ``ray[train]>=2.45,<3`` into ``ray==2.45``; see ``read_lowest_versions``."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?([^;@]*)", requirement.replace(" ", ""))
    name, ranges = match.groups() if match else ("", "")
    lowest = [item[2:] for item in ranges.split(",") if item.startswith(">=")]
    if len(lowest) != 1:
        raise ValueError(
            f"expected a dependency like 'name>=1.2,<2' in pyproject.toml, got {requirement!r}"
        )
    return f"{name}=={lowest[0]}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(read_lowest_versions(PYPROJECT)) + "\n")
