"""A package that cannot be imported becomes one line: which, why, and what repairs it."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from flowkit import cli
from flowkit.doctor import imports
from flowkit.doctor.imports import DISTRIBUTIONS, explain_import_error

ROOT = Path(__file__).resolve().parents[2]
LIBGL = "libGL.so.1: cannot open shared object file: No such file or directory"


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed distribution declares what pyproject.toml does."""
    lines = read_dependencies()
    monkeypatch.setattr(imports, "read_requirements", lambda: lines)


def read_dependencies() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def run_with(module: str, code: str, folder: Path, *arguments: str) -> str:
    """Run flowkit where ``import MODULE`` runs ``code`` instead; its one line of error."""
    package = folder / "first" / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code + "\n")
    result = subprocess.run(
        [sys.executable, "-m", "flowkit", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(package.parent), str(ROOT)))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0", "libX11.so.6"])
def test_opencv_without_its_system_libraries(tmp_path: Path, library: str) -> None:
    code = f"raise ImportError('{library}: cannot open shared object file')"
    line = run_with("cv2", code, tmp_path, "preview", str(tmp_path))
    assert line.startswith(f"error: cv2 cannot be used ({library}: cannot open")
    assert "pip install --force-reinstall --no-deps 'opencv-contrib-python-headless" in line
    assert "bug" not in line


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("av", ["preview", "S"]),
        ("click", ["--help"]),
        ("pyarrow", ["status", "S"]),
        ("torch", ["train", "motion8_cma", "--store", "S", "--run", "R"]),
        ("yaml", ["datasets"]),
    ],
)
def test_a_package_that_is_broken(module: str, arguments: list[str], tmp_path: Path) -> None:
    line = run_with(module, "raise ImportError('no such symbol')", tmp_path, *arguments)
    assert f"{module} cannot be used (no such symbol): pip install --force-reinstall" in line
    assert f"--no-deps '{DISTRIBUTIONS[module]}".lower() in line.lower()  # as metadata spells it
    assert "bug" not in line


def test_a_package_that_lacks_one_of_its_own(tmp_path: Path) -> None:
    line = run_with("pyarrow", "import a_package_of_arrow", tmp_path, "status", "S")
    assert "pyarrow cannot be used (No module named 'a_package_of_arrow'): pip install" in line
    assert "pip install flowkit-video 'pyarrow" in line


def import_missing(name: str) -> ModuleNotFoundError:
    try:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    except ModuleNotFoundError as error:
        return error


@pytest.mark.usefixtures("declared")
def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "find_version", lambda name: None)
    assert explain_import_error(import_missing("sklearn.metrics")) == (
        "scikit-learn is not installed: pip install flowkit-video 'scikit-learn>=1.6,<2'"
    )
    # pip would say that it is there, and do nothing
    monkeypatch.setattr(imports, "find_version", lambda name: "1.7.0")
    assert explain_import_error(import_missing("sklearn.metrics")) == (
        "No module named 'sklearn.metrics': "
        "pip install --force-reinstall --no-deps 'scikit-learn>=1.6,<2'"
    )


@pytest.mark.usefixtures("declared")
def test_the_opencv_builds_that_are_here_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"opencv-python": "4.11.0.86", "opencv-contrib-python": "4.11.0.86"}
    monkeypatch.setattr(imports, "find_version", here.get)
    line = explain_import_error(ImportError(LIBGL, name="cv2"))
    assert line == (
        f"cv2 cannot be used ({LIBGL}): pip uninstall -y opencv-python opencv-contrib-python, then "
        "pip install --force-reinstall --no-deps 'opencv-contrib-python-headless>=4.10.0.84,<6'"
    )


@pytest.mark.usefixtures("declared")
def test_extras_and_markers_of_a_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
    assert imports.find_requirement("ray") == "ray[train]>=2.45,<3"
    monkeypatch.setattr(
        imports, "read_requirements", lambda: ["Numpy (>=2) ; python_version > '3'"]
    )
    assert imports.find_requirement("numpy") == "Numpy(>=2)"
    assert imports.find_requirement("nothing") == "nothing"


def test_a_library_that_torch_loads_by_itself(tmp_path: Path) -> None:
    code = "raise OSError('libcudart.so.13: cannot open shared object file')"
    line = run_with("torch", code, tmp_path, "train", "motion8_cma", "--store", "S", "--run", "R")
    assert "torch cannot be used (libcudart.so.13: cannot open shared object file)" in line


def test_other_errors_are_not_explained() -> None:
    assert explain_import_error(OSError("no space left")) is None
    assert explain_import_error(import_missing("a_module_of_nobody")) is None
    assert explain_import_error(ImportError("no name 'x' in 'flowkit.y'", name="flowkit.y")) is None


def test_a_command_hidden_by_another_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another project's `train` overwrote ours: its name and the remedy are in the line."""
    info = tmp_path / "their_project-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their_project\nVersion: 2.0\n")
    (info / "RECORD").write_text("train/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("train", "train.commands.nowhere:train", "flowkit.commands")
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry])
    result = CliRunner().invoke(cli.main, ["train"])
    assert result.exit_code == 2
    assert "their_project 2.0, another project, installs 'train', too" in result.stderr
    assert "pip uninstall their_project, then pip install --force-reinstall" in result.stderr


def test_every_dependency_has_a_module() -> None:
    names = {Requirement(line).name for line in read_dependencies()}
    assert set(DISTRIBUTIONS.values()) == names
