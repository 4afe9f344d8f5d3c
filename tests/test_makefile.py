"""Which Python `make` takes, and when it makes the environment again; nothing is installed."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("sh", "make", "cat", "ls", "mkdir", "touch", "rm", "dirname", "env")

# Answers what .ci/make_venv asks of an interpreter, and makes environments of itself.
PYTHON = """#!/bin/sh
case "$*" in
*version_info*) echo "{version}" ;;
*ensurepip*) exit {without_venv} ;;
"-m venv --clear "*)
    rm -rf "$4"; mkdir -p "$4/bin"; touch "$4/pyvenv.cfg"
    cat "$0" >"$4/bin/python"; chmod +x "$4/bin/python" ;;
"-m pip --version") exit {without_pip} ;;
"-m pip install "*) echo "$*" >>installs ;;
*) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, and a PATH of its own with the tools that it needs."""
    folder = tmp_path / "checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / ".ci" / "make_venv", folder / ".ci")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in (*TOOLS, "chmod"):
        path = shutil.which(name)
        assert path is not None, f"this test needs {name}"
        (tools / name).symlink_to(path)
    return folder


def write_python(
    checkout: Path, name: str, version: str, *, venv: bool = True, pip: bool = True
) -> None:
    """Put an interpreter of this version on the PATH of the checkout."""
    path = checkout.parent / "bin" / name
    script = PYTHON.format(version=version, without_venv=int(not venv), without_pip=int(not pip))
    path.write_text(script)
    path.chmod(0o755)


def make(
    checkout: Path,
    *arguments: str,
    target: str = ".venv/.made",
    environment: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Make the environment, or another target."""
    variables = {"PATH": str(checkout.parent / "bin"), "LC_ALL": "C", **(environment or {})}
    return subprocess.run(
        ["make", "--no-print-directory", target, *arguments],
        cwd=checkout,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def read_error(result: "subprocess.CompletedProcess[str]") -> str:
    """The line that a failed `make` gives."""
    assert result.returncode == 2
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    return line


@pytest.mark.parametrize("version", ["3.11", "3.13", "3.20"])
def test_a_python_that_is_new_enough(checkout: Path, version: str) -> None:
    write_python(checkout, "python3", version)
    result = make(checkout)
    assert (result.returncode, result.stderr) == (0, "")
    assert (checkout / ".venv/.made").read_text() == f"{version}\n"


@pytest.mark.parametrize("version", ["3.10", "2.7", "3.9"])
def test_an_old_python_is_refused_before_anything_is_made(checkout: Path, version: str) -> None:
    write_python(checkout, "python3", version)
    line = read_error(make(checkout))
    assert line.startswith(
        f"error: flowkit needs Python 3.11 or newer, and python3 is Python {version}; install one "
    )
    assert not (checkout / ".venv").exists()


def test_no_python_at_all(checkout: Path) -> None:
    assert "python3 does not run; install one" in read_error(make(checkout))


def test_a_newer_one_on_path_stands_in_for_an_old_python3(checkout: Path) -> None:
    write_python(checkout, "python3", "3.10")
    write_python(checkout, "python3.11", "3.11")
    write_python(checkout, "python3.13", "3.10")  # a name that lies, as a shim's can
    result = make(checkout)
    assert result.returncode == 0
    assert result.stderr == (
        "flowkit needs Python 3.11 or newer, and python3 is Python 3.10: using python3.11\n"
    )
    assert (checkout / ".venv/.made").read_text() == "3.11\n"


@pytest.mark.parametrize("where", ["arguments", "environment"])
def test_a_python_that_was_named_is_not_replaced(checkout: Path, where: str) -> None:
    write_python(checkout, "python3.10", "3.10")
    write_python(checkout, "python3.12", "3.12")
    if where == "arguments":
        result = make(checkout, "PYTHON=python3.10")
    else:
        result = make(checkout, environment={"PYTHON": "python3.10"})
    assert "python3.10 is Python 3.10; use the one that is here: make PYTHON=python3.12 ..." in (
        read_error(result)
    )
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("python", "package"), [("python3", "python3-venv"), ("python3.12", "python3.12-venv")]
)
def test_a_python_without_venv_or_pip(checkout: Path, python: str, package: str) -> None:
    write_python(checkout, python, "3.12", venv=False)
    line = read_error(make(checkout, f"PYTHON={python}"))
    assert line.endswith(f"install them (Debian, Ubuntu: sudo apt install {package})")
    assert not (checkout / ".venv").exists()
    write_python(checkout, python, "3.12", pip=False)
    line = read_error(make(checkout, f"PYTHON={python}"))
    assert line.startswith("error: there is no pip in .venv; install what is missing")
    assert f"sudo apt install {package})" in line
    assert not (checkout / ".venv/.made").exists()


def test_the_environment_is_kept_for_the_same_python_and_remade_for_another(checkout: Path) -> None:
    write_python(checkout, "python3", "3.11")
    write_python(checkout, "python3.12", "3.12")
    assert make(checkout).returncode == 0
    (checkout / ".venv/.installed").touch()
    stamp = (checkout / ".venv/.made").stat().st_mtime_ns
    assert make(checkout).stderr == ""
    assert (checkout / ".venv/.installed").exists()
    assert (checkout / ".venv/.made").stat().st_mtime_ns == stamp
    result = make(checkout, "PYTHON=python3.12")
    assert result.stderr == ".venv is remade with Python 3.12\n"
    assert (checkout / ".venv/.made").read_text() == "3.12\n"
    assert not (checkout / ".venv/.installed").exists()


def test_packages_are_installed_again_only_where_it_is_needed(checkout: Path) -> None:
    write_python(checkout, "python3", "3.11")
    write_python(checkout, "python3.12", "3.12")
    (checkout / "pyproject.toml").touch()
    (checkout / "constraints.txt").touch()

    def install(*arguments: str) -> int:
        """How often pip was called so far, this call of make included."""
        assert make(checkout, *arguments, target=".venv/.installed").returncode == 0
        return len((checkout / "installs").read_text().splitlines())

    assert [install(), install()] == [1, 1]
    assert [install("PYTHON=python3.12"), install("PYTHON=python3.12")] == [2, 2]
    newer = (checkout / ".venv/.installed").stat().st_mtime + 1
    os.utime(checkout / "constraints.txt", (newer, newer))
    assert install("PYTHON=python3.12") == 3


def test_an_environment_of_a_python_that_is_gone_is_remade(checkout: Path) -> None:
    write_python(checkout, "python3", "3.11")
    assert make(checkout).returncode == 0
    (checkout / ".venv/bin/python").unlink()
    assert make(checkout).stderr == ".venv is remade with Python 3.11\n"
    assert (checkout / ".venv/bin/python").exists()


def test_an_environment_made_by_hand_is_kept(checkout: Path) -> None:
    write_python(checkout, "python3", "3.11")
    assert make(checkout).returncode == 0
    (checkout / ".venv/.made").unlink()
    (checkout / ".venv/a package").touch()
    assert make(checkout).stderr == ""
    assert (checkout / ".venv/.made").read_text() == "3.11\n"
    assert (checkout / ".venv/a package").exists()


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Path) -> None:
    write_python(checkout, "python3", "3.11")
    (checkout / ".venv").mkdir()
    (checkout / ".venv/thesis.tex").touch()
    assert "is no virtual environment, and is left as it is" in read_error(make(checkout))
    assert (checkout / ".venv/thesis.tex").exists()


@pytest.mark.parametrize("target", ["dist", "test-matrix"])
def test_the_targets_of_releases(checkout: Path, target: str) -> None:
    environment = dict(os.environ) | {"MAKEFLAGS": ""}
    result = subprocess.run(
        ["make", "-n", target],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    script = {"dist": ".ci/check_dist.py dist", "test-matrix": "tests/matrix/run.py"}[target]
    assert f".venv/bin/python {script}" in result.stdout
