"""CONTRIBUTING and comments name only files that exist, and names that are in them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_FOLDERS = "benchmarks|docs|flowkit|models|tests|train"
PATH = re.compile(rf"(?<![\w/.…])(?:{TOP_FOLDERS})/[\w./]*\w(?:/|\b)")


def find_paths(text: str) -> list[str]:
    """Find paths of the repository; those with a part in capitals stand for any name."""
    return [path for path in PATH.findall(text) if not re.search(r"(?<![a-z])NAME", path)]


@pytest.mark.parametrize(
    "name", ["CONTRIBUTING.md", "datasets.yaml", "benchmarks/gpu_steps/plan.py"]
)
def test_named_files_exist(name: str) -> None:
    paths = find_paths((ROOT / name).read_text(encoding="utf-8"))
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_what_the_table_of_places_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \|$", text.split("### Where is …?")[1].split("###")[0], re.M)[2:]
    assert len(rows) > 5
    for row in rows:
        files = [path for path in find_paths(row) if path.endswith(".py")]
        sources = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        sources += "".join(
            path.read_text(encoding="utf-8")
            for folder in find_paths(row)
            if folder.endswith("/")
            for path in (ROOT / folder).glob("*.py")
        )
        for name in re.findall(r"`([A-Za-z_.]+)`", row):
            if not name.endswith(".py"):
                assert re.search(rf"\b{name.rpartition('.')[2]}\b", sources), (name, row)
