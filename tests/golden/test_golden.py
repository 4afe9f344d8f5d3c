"""What flowkit of 29 November 2026 made, this one opens, verifies, extends, resumes and reports.

`make_golden.py` made the folders beside this file. Nothing here says how; only that stores and
runs that people have are never lost to a change of the code.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.store import Store
from tests.golden.make_golden import CHANGES, COMMON, describe_folder, describe_store

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
ALONE = ("--workers", "0", "--json")


@pytest.fixture
def golden(tmp_path, monkeypatch):
    """A copy of the golden folders, which is the current folder."""
    for name in ("videos", "store", "run", "half"):
        shutil.copytree(HERE / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flowkit(*arguments, exit_code=0):
    """Run a command; returns its standard output."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.output
    return result.stdout


def test_the_store_is_read_byte_for_byte(golden):
    assert describe_store(golden / "store") == GOLDEN["store"]


def test_the_store_is_whole(golden):
    flowkit("verify", "store", "--deep")
    assert json.loads(flowkit("status", "store", "--json"))["videos"] == len(GOLDEN["store"])


def test_the_index_is_made_anew_from_the_records(golden):
    (golden / "store" / "index.arrow").unlink()
    flowkit("index", "store")
    assert describe_store(golden / "store") == GOLDEN["store"]


def test_the_store_is_extended(golden, make_clip):
    shards = describe_folder(golden / "store" / "frames")
    make_clip(golden / "videos" / "val" / "left" / "new.mp4", 9, 48, 32, sound=True)
    summary = json.loads(
        flowkit("extract", "--videos", "videos", "--store", "store", "--audio", *ALONE)
    )
    assert summary["extracted"] == 1
    assert summary["done_before"] == len(GOLDEN["store"])
    assert shards.items() <= describe_folder(golden / "store" / "frames").items()
    store = Store(golden / "store")
    assert store["val/left/new.mp4"].streams == ("rgb", "flow", "audio")
    described = describe_store(golden / "store", features=False)
    for id, video in GOLDEN["store"].items():
        assert described[id] == {key: video[key] for key in video if key != "features"}


def test_the_export_is_the_same(golden):
    flowkit("export", "store", "export", "--format", "denseflow", "--subset", "val")
    assert describe_folder(golden / "export") == GOLDEN["export"]


def test_the_exported_folders_are_imported(golden):
    shutil.copytree(HERE / "export", golden / "export")
    flowkit("import", "export", "--store", "imported", "--format", "denseflow")
    imported, store = Store(golden / "imported"), Store(golden / "store")
    assert list(imported) == [id for id in store if "val" in store[id].subsets]
    for id in imported:
        assert imported[id].rgb_bytes(3) == store[id].rgb_bytes(3)


def test_the_finished_run_is_evaluated_as_then(golden):
    assert (
        json.loads(flowkit("evaluate", "run", "--store", "store", "--json", *COMMON))
        == (GOLDEN["evaluate"])
    )
    files = sorted((HERE / "run" / "scores").rglob("*.npz"))
    assert len(files) >= 8
    for path in files:
        now = np.load(golden / "run" / "scores" / path.relative_to(HERE / "run" / "scores"))
        then = np.load(path)
        assert sorted(now) == sorted(then)
        for name in then:
            if then[name].dtype.kind == "f":
                np.testing.assert_allclose(now[name], then[name], atol=1e-4)
            else:
                np.testing.assert_array_equal(now[name], then[name])


def test_the_finished_run_is_reported_and_predicts(golden):
    flowkit("report", "run", "--store", "store")
    assert (golden / "run" / "report.html").stat().st_size > 10_000
    said = json.loads(flowkit("predict", "run", "videos/val/left/6.mp4", "--json", *COMMON))
    assert set(said) == {"left", "right"}


def test_the_half_finished_run_goes_on(golden):
    phases = golden / "half" / "phases"
    finished = describe_folder(phases / "iter_1")
    steps = (phases / "uniform" / "steps.jsonl").read_text()
    assert (phases / "uniform" / "checkpoint.pt").is_file()
    changes = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
    flowkit("train", "motion8_cma", "--run", "half", "--store", "store", *changes, *COMMON)
    assert describe_folder(phases / "iter_1") == finished
    assert (phases / "uniform" / "weights.pt").is_file()
    assert (phases / "uniform" / "steps.jsonl").read_text().startswith(steps)
    # Going on from a checkpoint ends where an uninterrupted run did.
    last = [
        json.loads((golden / name / "phases/uniform/epochs.jsonl").read_text().splitlines()[-1])
        for name in ("half", "run")
    ]
    assert last[0]["loss"] == pytest.approx(last[1]["loss"], rel=1e-4)
