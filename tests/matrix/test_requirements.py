import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

SCRIPT = Path(__file__).with_name("requirements.py")
PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.fixture(scope="module")
def requirements() -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("matrix_requirements", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_has_a_lower_end_within_its_range(requirements: ModuleType) -> None:
    lines = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    pins = [Requirement(line) for line in requirements.read_lowest_versions(PYPROJECT)]
    for line, pin in zip(lines, pins, strict=True):
        declared, (version,) = Requirement(line), pin.specifier
        assert (pin.name, version.operator, pin.extras) == (declared.name, "==", set())
        assert declared.specifier.contains(version.version)
        lower = {item.version for item in declared.specifier if item.operator == ">="}
        assert lower == {version.version}


@pytest.mark.parametrize(
    ("requirement", "pin"),
    [
        ("numpy>=2.1,<3", "numpy==2.1"),
        ("ray[train, tune] >= 2.45, < 3, != 2.46", "ray==2.45"),
        ("a.b_c<2,>=1.0.post1", "a.b_c==1.0.post1"),
    ],
)
def test_lower_ends(requirements: ModuleType, requirement: str, pin: str) -> None:
    assert requirements.pin_lowest_version(requirement) == pin


@pytest.mark.parametrize(
    "requirement", ["numpy", "numpy<3", "numpy>=2,>=2.1", "numpy>=2; python_version > '3.11'"]
)
def test_what_has_no_lower_end(requirements: ModuleType, requirement: str) -> None:
    with pytest.raises(ValueError, match="expected a dependency like"):
        requirements.pin_lowest_version(requirement)


def test_the_script_prints_a_constraints_file(requirements: ModuleType) -> None:
    command = [sys.executable, str(SCRIPT)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    assert output.splitlines() == requirements.read_lowest_versions(PYPROJECT)
