"""Another project's distribution named ``flowkit`` in the environment of ours, in every order.

The package index has one: a toolkit for flow cytometry, with a package ``flowkit``, too.
"""

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from flowkit.doctor import packages
from flowkit.installation import (
    explain_name_clash,
    find_changed_files,
    find_clashing_distributions,
    require_own_package,
)

LIBRARIES = Path(pytest.__file__).resolve().parents[1]  # where click is
REMEDY = "pip uninstall flowkit, then pip install --force-reinstall --no-deps flowkit-video"
THEIRS = "__version__ = '1.3.2'\n"
BROKEN = "import a_package_that_only_their_project_needs\n"


def write_wheel(
    folder: Path, files: dict[str, str], name: str = "flowkit", version: str = "1.3.2"
) -> Path:
    """Write a wheel with these files, by hand."""
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},{hash_text(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def hash_text(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def install(prefix: Path, *wheels: Path) -> Path:
    """Install wheels one after another, as pip does it; the folder with their packages."""
    for wheel in wheels:
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index"]
        command += ["--ignore-installed", "--no-warn-script-location", "--no-compile"]
        command += ["--prefix", str(prefix), str(wheel)]
        environment = os.environ | {"PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment)
    (site,) = prefix.glob("lib*/python*/site-packages")
    return site


def run(site: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run Python with what is installed in ``site``, and without an editable flowkit (-S)."""
    path = os.pathsep.join(map(str, (site, LIBRARIES)))
    return subprocess.run(
        [sys.executable, "-S", *map(str, arguments)],
        cwd=site.parent,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def start_command(site: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the console script that pip wrote."""
    return run(site, site.parents[2] / "bin" / "flowkit", *arguments)


def remove_theirs(site: Path) -> None:
    """Remove the files of the other distribution, as `pip uninstall flowkit` does."""
    info = site / "flowkit-1.3.2.dist-info"
    for line in (info / "RECORD").read_text(encoding="utf-8").splitlines():
        (site / line.split(",")[0]).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def theirs_last(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Ours, and then theirs over it."""
    folder = tmp_path_factory.mktemp("theirs_last")
    return install(folder / "prefix", wheel, write_wheel(folder, {"flowkit/__init__.py": THEIRS}))


@pytest.fixture(scope="module")
def ours_last(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Theirs, and then ours over it."""
    folder = tmp_path_factory.mktemp("ours_last")
    return install(folder / "prefix", write_wheel(folder, {"flowkit/__init__.py": THEIRS}), wheel)


@pytest.mark.parametrize("init", [THEIRS, BROKEN, "raise RuntimeError('no display')\n"])
def test_the_command_names_what_overwrote_it(theirs_last: Path, init: str) -> None:
    (theirs_last / "flowkit/__init__.py").write_text(init)
    result = start_command(theirs_last, "--help")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: flowkit 1.3.2, another project, installs 'flowkit', too, in ")
    assert line.endswith(f"cannot be in one environment. Run: {REMEDY}")
    traceback = start_command(theirs_last, "--debug").stderr
    assert ("Traceback" in traceback) == (init != THEIRS)


def test_an_import_of_ours_names_what_overwrote_it(theirs_last: Path) -> None:
    (theirs_last / "flowkit/__init__.py").write_text(THEIRS)
    result = run(theirs_last, "-c", "from flowkit.store import Store")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith(f"Run: {REMEDY}")


def test_what_their_removal_left_is_named(theirs_last: Path, tmp_path: Path) -> None:
    copy = tmp_path / "prefix"
    subprocess.run(["cp", "-r", str(theirs_last.parents[2]), str(copy)], check=True)
    site = copy / theirs_last.relative_to(theirs_last.parents[2])
    remove_theirs(site)
    result = start_command(site, "--help")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f"{site / 'flowkit/__init__.py'} is missing" in line
    assert line.endswith("pip install --force-reinstall --no-deps flowkit-video")


def test_ours_over_theirs_works(ours_last: Path) -> None:
    assert start_command(ours_last, "--version").stdout.startswith("flowkit, version 0.")
    assert run(ours_last, "-c", "import flowkit.errors").returncode == 0


def test_doctor_names_the_other_distribution_in_either_order(
    theirs_last: Path, ours_last: Path
) -> None:
    (theirs_last / "flowkit/__init__.py").write_text(THEIRS)
    here = packages.check_distributions([str(ours_last)])
    assert [(finding.status, finding.advice) for finding in here] == [("warn", REMEDY)]
    first, second = packages.check_distributions([str(theirs_last)])
    assert (first.status, first.advice) == ("fail", REMEDY)
    assert second.message == ("files of flowkit-video are missing or changed: flowkit/__init__.py")
    assert second.advice.startswith("pip install --force-reinstall --no-deps flowkit-video")
    # Without av no clip is decoded, and no kernel is compiled for this installation.
    doctor = "import sys; sys.modules['av'] = None; from flowkit.cli import main; main()"
    result = run(ours_last, "-c", doctor, "doctor", "--quick", "--json")
    assert REMEDY in result.stdout


def test_nothing_is_wrong_with_ours_alone(tmp_path: Path, wheel: Path) -> None:
    site = install(tmp_path, wheel)
    assert packages.check_distributions([str(site)]) == []
    (site / "models/__init__.py").unlink()
    (site / "train/report/report.py").write_text("")
    assert sorted(find_changed_files([str(site)])) == [
        "models/__init__.py",
        "train/report/report.py",
    ]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"models/layers/net.py": ""}, ("models",)),
        ({"train.py": "", "models/__init__.py": ""}, ("models", "train")),
        ({"models/net.abi3.so": ""}, ("models",)),
        ({"flowkit/data.yaml": "", "models.txt": "", "trained/__init__.py": ""}, None),
    ],
)
def test_which_files_make_a_package(
    tmp_path: Path, files: dict[str, str], found: tuple[str, ...] | None
) -> None:
    write_wheel(tmp_path, files, "their_project", "2.0")
    with zipfile.ZipFile(tmp_path / "their_project-2.0-py3-none-any.whl") as archive:
        archive.extractall(tmp_path)
    others = find_clashing_distributions([str(tmp_path)])
    assert [(other.name, other.packages) for other in others] == (
        [("their_project", found)] if found else []
    )


def test_an_old_kind_of_installation_without_record(tmp_path: Path) -> None:
    info = tmp_path / "Old-1.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: Old\nVersion: 1\n")
    (info / "top_level.txt").write_text("old\ntrain\n")
    (other,) = find_clashing_distributions([str(tmp_path)])
    assert (other.name, other.version, other.packages) == ("Old", "1", ("train",))


def test_a_hidden_package_of_a_distribution_is_named(tmp_path: Path) -> None:
    write_wheel(tmp_path, {"models/__init__.py": ""}, "their_project", "2.0")
    with zipfile.ZipFile(tmp_path / "their_project-2.0-py3-none-any.whl") as archive:
        archive.extractall(tmp_path / "site")
    installed = tmp_path / "installed"
    (installed / "models").mkdir(parents=True)
    (installed / "models/__init__.py").touch()
    (finding,) = packages.check_names(
        installed, installed, [str(tmp_path / "site"), str(installed)]
    )
    assert f"finds {tmp_path / 'site/models'} instead of" in finding.message
    assert finding.advice.startswith("it belongs to their_project 2.0: pip uninstall their_project")


def test_the_check_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    require_own_package()
    monkeypatch.delattr("flowkit.__distribution__")
    with pytest.raises(ImportError, match="belongs to another project; another project"):
        require_own_package()


def test_a_file_that_hides_flowkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowkit.__file__", str(tmp_path / "flowkit.py"))
    assert explain_name_clash("flowkit").startswith(
        f"'import flowkit' finds {tmp_path / 'flowkit.py'} instead of "
    )
