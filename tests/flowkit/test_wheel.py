import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked elsewhere."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(site: Path, folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_packaged_catalogue_is_found(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import flowkit; from flowkit.catalog import load_catalog; c = load_catalog(None); "
        "print(flowkit.__file__, c['ucf101'].catalog, *c, sep='\\n')"
    )
    package, catalog, *names = run(unpacked, tmp_path, "-c", code).split()
    assert Path(package) == unpacked / "flowkit/__init__.py"
    assert Path(catalog) == unpacked / "flowkit/datasets.yaml"
    assert {"kinetics-400", "ucf101", "hmdb51", "charades", "motion8"} <= set(names)


def test_the_command_answers(unpacked: Path, tmp_path: Path) -> None:
    help_text = run(unpacked, tmp_path, "-m", "flowkit", "--help")
    assert help_text.startswith("Usage: flowkit ")
    listing = run(unpacked, tmp_path, "-m", "flowkit", "datasets", "ucf101")
    assert "UCF101.rar" in listing


def test_nothing_but_the_packages_is_in_the_wheel(unpacked: Path) -> None:
    top = {path.name for path in unpacked.iterdir()} - {"__pycache__"}  # other tests import it
    packages = {name for name in top if not name.endswith(".dist-info")}
    assert packages == {"flowkit", "models", "train", "flowkit_video.py"}


def test_the_distribution_has_a_name_of_its_own(unpacked: Path) -> None:
    """`flowkit` is another project's on the package index; import and command keep the name."""
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    assert "\nName: flowkit-video\n" in metadata.read_text(encoding="utf-8")
    entries = metadata.with_name("entry_points.txt").read_text(encoding="utf-8")
    assert "[console_scripts]\nflowkit = flowkit_video:main\n" in entries


def test_recipes_and_the_reports_page_are_in_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    listing = run(unpacked, tmp_path, "-m", "flowkit", "recipes")
    for path in (ROOT / "train" / "recipes").glob("*.yaml"):
        assert path.stem in listing
    assert (unpacked / "train" / "templates" / "report.html").is_file()


def test_the_tested_pins_are_in_the_wheel(unpacked: Path) -> None:
    pins = (unpacked / "flowkit" / "constraints.txt").read_text()
    assert pins == (ROOT / "constraints.txt").read_text()
