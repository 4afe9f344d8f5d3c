"""`make dist` lets nothing out that is incomplete, or that has what does not belong there."""

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
METADATA = """Metadata-Version: 2.4
Name: flowkit-video
Version: 1.0
Summary: Videos
License-Expression: Apache-2.0
Requires-Python: >=3.11
Description-Content-Type: text/markdown

# Videos
"""


@pytest.fixture(scope="module")
def check_dist() -> ModuleType:
    spec = spec_from_file_location("check_dist", ROOT / ".ci" / "check_dist.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


def change_wheel(wheel: Path, path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A copy of the wheel, with its files changed."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def find_license(files: dict[str, bytes]) -> str:
    """The name of the licence's text in a wheel."""
    (name,) = (name for name in files if name.endswith(".dist-info/licenses/LICENSE"))
    return name


def test_what_is_built_is_complete(check_dist: ModuleType, dist: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert check_dist.check_wheel(wheel) == []
    assert check_dist.check_sdist(sdist) == []
    assert check_dist.check_installation(wheel) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda files: files.pop("models/py.typed"), "models/py.typed is missing"),
        (lambda files: files.pop(find_license(files)), "licenses/LICENSE is missing"),
        (lambda files: files.pop("flowkit/datasets.yaml"), "flowkit/datasets.yaml is missing"),
        (lambda files: files.pop("train/loop/epochs.py"), "train/loop/epochs.py is missing"),
        (lambda files: files.update({"tests/a.py": b""}), "expected ('flowkit', 'models', "),
        (lambda files: files.update({"models/a.pth": b""}), "models/a.pth does not belong there"),
        (lambda files: files.update({"train/a": bytes(3_000_000)}), "train/a has 3,000,000 bytes"),
    ],
)  # fmt: skip
def test_a_wheel_that_is_wrong(
    check_dist: ModuleType,
    dist: Path,
    tmp_path: Path,
    change: Callable[[dict[str, bytes]], object],
    problem: str,
) -> None:
    (wheel,) = dist.glob("*.whl")
    (found,) = check_dist.check_wheel(change_wheel(wheel, tmp_path / wheel.name, change))
    assert problem in found


def test_a_wheel_that_does_not_start(check_dist: ModuleType, dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    name = "flowkit_video.py"
    broken = change_wheel(
        wheel, tmp_path / wheel.name, lambda files: files.update({name: b"raise SystemExit('no')"})
    )
    (problem,) = check_dist.check_installation(broken)
    assert "flowkit" in problem


def test_an_sdist_that_is_wrong(check_dist: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "flowkit_video-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("PKG-INFO", "flowkit/__pycache__/a.pyc"):
            content = METADATA.encode()
            item = tarfile.TarInfo(f"flowkit_video-1.0/{name}")
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    problems = check_dist.check_sdist(path)
    assert f"{path.name}: Makefile is missing" in problems
    assert f"{path.name}: flowkit/__pycache__/a.pyc does not belong there" in problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("flowkit-video", "flowkit", "expected the name flowkit-video, got flowkit"),
        ("Version: 1.0", "Version: one", "'one' is invalid"),
        ("Summary: Videos\n", "", "expected a summary"),
        ("text/markdown", "text/plain", "expected a summary"),
        ("Apache-2.0", "MIT", "expected the licence Apache-2.0, got MIT"),
        ("# Videos\n", "", "the description is empty"),
        (">=3.11", ">=3.9", "expected Python >=3.11, got >=3.9"),
    ],
)
def test_metadata_that_is_wrong(check_dist: ModuleType, old: str, new: str, problem: str) -> None:
    assert check_dist.check_metadata("a.whl", METADATA.encode()) == []
    (found,) = check_dist.check_metadata("a.whl", METADATA.replace(old, new).encode())
    assert problem in found


def test_two_wheels_are_refused(tmp_path: Path) -> None:
    for name in ("a.whl", "b.whl", "a.tar.gz"):
        (tmp_path / name).touch()
    command = [sys.executable, str(ROOT / ".ci" / "check_dist.py"), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: expected one wheel and one sdist in")
