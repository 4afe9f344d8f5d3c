"""Python, packages and names, as `flowkit doctor` sees them (the rest is in doctor/)."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flowkit.doctor import packages
from flowkit.doctor.finding import Finding
from flowkit.doctor.shadowing import find_shadows

ROOT = Path(__file__).resolve().parents[3]


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_old_python() -> None:
    assert only(packages.check_python((3, 10, 1))).status == "fail"
    assert only(packages.check_python((3, 11, 0))).status == "ok"


def test_versions_against_ranges_and_pins() -> None:
    ranges = {"numpy": ">=1.26", "ray": ">=2.40", "PyYAML": ""}
    found = {"numpy": "1.20", "ray": None, "PyYAML": "6"}
    findings = packages.compare_versions(ranges, found, {})
    assert [finding.message for finding in findings] == [
        "numpy >=1.26 is needed, 1.20 is installed",
        "ray >=2.40 is needed, none is installed",
    ]
    assert findings[0].advice == "pip install flowkit-video 'numpy>=1.26'"
    found = {"numpy": "2.1", "ray": "2.50", "PyYAML": "6"}
    tested = packages.compare_versions(ranges, found, {"numpy": "2.1", "pyyaml": "6"})
    assert only(tested) == Finding("packages", "ok", "numpy 2.1, ray 2.50, PyYAML 6")
    untested = only(packages.compare_versions(ranges, found, {"numpy": "2.2", "pyyaml": "7"}))
    assert untested.status == "ok"
    assert "numpy 2.1 (tested: 2.2), PyYAML 6 (tested: 7)" in untested.message


def test_the_pins_are_within_the_ranges_and_name_every_package() -> None:
    pins = packages.read_tested_versions()
    declared = read_declared()
    assert declared
    for item in declared:
        assert item.specifier.contains(pins[canonicalize_name(item.name)]), item


def read_declared() -> list[Requirement]:
    """What pyproject.toml declares, the extras of tests and learned flow included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["test"] + extras["learned"]
    return [Requirement(line) for line in lines]


def test_an_unknown_distribution() -> None:
    assert only(packages.check_packages("no-such-distribution")).status == "warn"


def test_opencv_packages_over_each_other() -> None:
    finding = only(packages.check_opencv(("opencv-python", "opencv-contrib-python")))
    assert finding.status == "warn"
    assert "opencv-python and opencv-contrib-python" in finding.message
    assert finding.advice.startswith(
        "pip uninstall -y opencv-python opencv-contrib-python, then pip install --force-reinstall "
        "--no-deps 'opencv-contrib-python-headless"
    )
    assert packages.check_opencv(("opencv-contrib-python",)) == []


def test_either_contrib_build_of_opencv_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"opencv-contrib-python": "5.1.0.95"}
    monkeypatch.setattr(packages, "find_version", installed.get)
    headless = "opencv-contrib-python-headless"
    assert packages.choose_build(headless) == "opencv-contrib-python"
    assert packages.choose_build("numpy") == "numpy"
    installed[headless] = "5.1.0.95"
    assert packages.choose_build(headless) == headless
    installed = {"opencv-contrib-python": ""}
    monkeypatch.setattr(packages, "find_version", installed.get)
    assert packages.choose_build(headless) == headless
    installed.clear()
    assert packages.choose_build(headless) == headless


def test_the_range_of_opencv_is_that_of_the_build_with_a_gui_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "requires", lambda _: ["opencv-contrib-python-headless>=4.10"])
    monkeypatch.setattr(packages, "find_version", {"opencv-contrib-python": "3.4.0"}.get)
    findings = packages.check_packages()
    expected = "opencv-contrib-python >=4.10 is needed, 3.4.0 is installed"
    assert expected in [finding.message for finding in findings]


def package(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    return folder


def test_shadows_by_file_and_by_folder(tmp_path: Path) -> None:
    installed = package(tmp_path / "installed", "flowkit", "models", "train")
    other = package(tmp_path / "other", "models")
    (other / "train.py").touch()
    shadows = find_shadows([str(other), str(installed)], installed)
    assert [(shadow.name, shadow.path) for shadow in shadows] == [
        ("models", other / "models"),
        ("train", other / "train.py"),
    ]
    assert f"finds {other / 'train.py'} instead of {installed / 'train'}" in shadows[1].message
    assert find_shadows([str(installed), str(other)], installed) == []


def test_no_shadow_of_what_is_not_installed_or_is_only_a_data_folder(tmp_path: Path) -> None:
    installed = package(tmp_path / "installed", "flowkit", "models")
    other = package(tmp_path / "other", "train")
    (other / "models/weights").mkdir(parents=True)
    assert find_shadows([str(other), str(installed)], installed) == []


def test_names_beside_a_script_warn(tmp_path: Path) -> None:
    installed = package(tmp_path / "installed", "models")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/models.py").touch()
    path = [str(installed)]
    warning = only(packages.check_names(tmp_path / "here", installed, path))
    assert warning.status == "warn"
    assert str(tmp_path / "here/models.py") in warning.message
    assert only(packages.check_names(installed, installed, path)).status == "ok"
    shadowed = packages.check_names(installed, installed, [str(tmp_path / "here"), *path])
    assert only(shadowed).status == "fail"
