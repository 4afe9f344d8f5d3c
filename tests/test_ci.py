"""The workflow of the hosted CI runs what people run, on the Pythons that are promised."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))


def list_commands(job: str) -> list[str]:
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_the_checks_are_those_of_a_submission() -> None:
    assert list_commands("checks") == ["make lint test", "make docs"]


def test_every_python_with_every_set_of_packages() -> None:
    matrix = WORKFLOW["jobs"]["matrix"]["strategy"]["matrix"]
    assert matrix == {
        "python": ["3.11", "3.12", "3.13"],
        "packages": ["oldest", "pinned", "newest"],
    }
    (command,) = list_commands("matrix")
    assert command.startswith("python tests/matrix/run.py --python ")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={matrix['python'][0]}"


def test_pip_is_cached_for_what_is_declared() -> None:
    for job in WORKFLOW["jobs"].values():
        (setup,) = (
            step["with"]
            for step in job["steps"]
            if step.get("uses", "").startswith("actions/setup-python")
        )
        assert setup["cache"] == "pip"
        files = setup["cache-dependency-path"].split()
        assert files == ["pyproject.toml", "constraints.txt"]
        assert all((ROOT / name).is_file() for name in files)
