"""`flowkit split` as a user runs it."""

import json

import pytest
from click.testing import CliRunner

from flowkit.commands.index import index
from flowkit.commands.split import split
from flowkit.commands.status import status
from flowkit.errors import UsageError
from flowkit.store import Store

IDS = [f"{name}/g{n:02}_{take}" for name in ("left", "right") for n in range(10) for take in "ab"]


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def root(make_store, tmp_path):
    """A store whose labels are the folders of its videos, as `flowkit extract --videos` makes."""
    root = make_store([f"{id}.mp4" for id in IDS], frames=1, annotated=False, streams=("rgb",))
    for id in IDS:
        (tmp_path / "videos" / id).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / f"{id}.mp4").write_bytes(b"")
    run(index, root, "--annotations", tmp_path / "videos", "--format", "folder")
    return root


def test_split(root, tmp_path):
    fractions = ("--train", 0.8, "--val", 0.1, "--test", 0.1)
    text = run(split, root, *fractions, "--group-by", r"g(\d+)", "--seed", 1)
    assert text.splitlines() == [
        "divided 40 videos: train 32 (80.0%, 80.0% requested), val 4 (10.0%, 10.0% requested), "
        "test 4 (10.0%, 10.0% requested); seed 1",
        "2 classes; all in every subset",
        r"10 groups by pattern 'g(\d+)'; none is cut",
    ]
    made = r"(by flowkit split: train 0.8, val 0.1, test 0.1, seed 1, grouped by 'g(\d+)')"
    assert made in run(status, root)
    assert json.loads(run(status, root, "--json"))["splits"][0]["group_by"] == r"g(\d+)"
    # Labels from folders name no subsets, so reading them again keeps the division.
    run(index, root, "--annotations", tmp_path / "videos", "--format", "folder")
    assert Store(root).subsets() == {"train": 32, "val": 4, "test": 4}


def test_fractions_by_default_and_from_options(root):
    run(split, root)
    assert Store(root).subsets() == {"train": 32, "val": 4, "test": 4}
    with pytest.raises(UsageError, match=r"found test \(4\), train \(32\), val \(4\)"):
        run(split, root)
    run(split, root, "--train", 0.75, "--test", 0.25, "--replace")
    assert Store(root).subsets() == {"train": 30, "test": 10}
    run(split, root, "--only", "train", "--train", 0.8, "--val", 0.2)
    assert Store(root).subsets() == {"train": 24, "val": 6, "test": 10}
    with pytest.raises(UsageError, match=r"sum is 1, got train 0\.7"):
        run(split, root, "--train", 0.7, "--replace")
