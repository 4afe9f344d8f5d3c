"""The numbers of the overview: distributions, classes by subset, and videos that are not there."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.cli import main
from flowkit.errors import StoreError
from flowkit.recipe import FlowRecipe, RGBRecipe, StoreRecipe
from flowkit.store import Store, create_or_open, rebuild_index, write_annotations
from flowkit.store.annotations import read_annotations
from flowkit.store.failures import Failure, append_failure
from flowkit.store.status import read_status
from flowkit.store.video_list import VideoList
from flowkit.web.open_store import OpenStore
from flowkit.web.overview import choose_step, describe_store, make_histogram

from .conftest import IDS

NUMBERS = st.none() | st.floats(0, 1e4, allow_subnormal=False) | st.integers(0, 400)
FAILURE = Failure("broken/ü.mp4", "v.mp4", "decode", "no frames", 2, 1.5e9)


@given(st.lists(NUMBERS, min_size=1, max_size=60))
def test_every_video_is_in_the_bar_of_its_number(values):
    numbers = np.array([np.nan if value is None else value for value in values], float)
    histogram = make_histogram(numbers)
    known = numbers[~np.isnan(numbers)]
    assert histogram.unknown == len(numbers) - len(known)
    edges, counts = histogram.edges, histogram.counts
    assert sum(counts) == len(known)
    if len(known):
        assert (histogram.low, histogram.high) == (known.min(), known.max())
        assert len(edges) == len(counts) + 1
        assert sorted(edges) == edges
        # A page of the grid selects by the same comparisons.
        for k in range(len(counts) - 1):
            assert counts[k] == ((known >= edges[k]) & (known < edges[k + 1])).sum()
        assert counts[-1] == (known >= edges[-2]).sum()


@pytest.mark.parametrize(("width", "step"), [(0.99, 1), (1, 1), (1.01, 2), (4, 5), (0.06, 0.1)])
def test_the_width_of_a_bar_is_round(width, step):
    assert choose_step(width) == pytest.approx(step)


def test_bars_of_whole_numbers_are_not_narrower_than_one():
    histogram = make_histogram(np.array([3.0, 4, 4, 9]))
    assert histogram.edges[:3] == [3, 4, 5]
    assert histogram.counts[:3] == [1, 2, 0]


@pytest.fixture
def partial(root):
    """The store, two videos that are missing, of which one failed, and one more that failed."""
    table = read_annotations(root)
    assert table is not None
    more = (
        Annotation("0 <b>missing</b>", (Label("wave"),), ("test",)),
        Annotation("zz failed", (Label("jump high"),), ()),
    )
    rows = sorted((*table.annotations, *more), key=lambda row: row.id)
    write_annotations(root, AnnotationTable(table.classes, tuple(rows)))
    rebuild_index(root)
    append_failure(root, FAILURE)
    append_failure(root, replace(FAILURE, id="zz failed", kind="timeout"))
    append_failure(root, replace(FAILURE, id=IDS[0]))  # extracted since
    return root


def test_failed_and_missing_videos_are_listed(partial):
    facts = describe_store(OpenStore(partial))
    assert facts["missing"] == {"total": 2, "listed": ["0 <b>missing</b>", "zz failed"]}
    assert facts["failures"]["total"] == 2
    assert facts["failures"]["kinds"] == {"decode": 1, "timeout": 1}
    assert facts["failures"]["listed"][0] == {
        "id": FAILURE.id, "kind": "decode", "reason": "no frames", "attempts": 2, "time": 1.5e9
    }  # fmt: skip
    status = read_status(partial)
    assert (status.missing, status.annotated, status.videos) == (2, 7, 5)
    assert status.failures == {"decode": 1, "timeout": 1}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("status=missing", ["0 <b>missing</b>", "zz failed"]),
        ("status=missing&descending=1", ["zz failed", "0 <b>missing</b>"]),
        ("status=missing&class=wave", ["0 <b>missing</b>"]),
        ("status=missing&where=class!%3Dwave", ["zz failed"]),
        ("status=missing&subset=test", ["0 <b>missing</b>"]),
        ("status=missing&text=FAILED", ["zz failed"]),
        ("status=missing&where=frames%3E0", []),
        ("status=failed", ["broken/ü.mp4", "zz failed"]),
        ("status=failed&text=%C3%BC", ["broken/ü.mp4"]),
        ("status=failed&class=jump+high", ["zz failed"]),
        ("status=failed&subset=test", []),  # in which no video failed
        ("status=missing&subset=train", []),
    ],
)
def test_the_grid_shows_them_too(partial, get, query, ids):
    answer = get(f"/api/videos?{query}").json()
    assert [video["id"] for video in answer["videos"]] == ids
    assert answer["total"] == len(ids)
    assert answer["stored"] == 5
    for video in answer["videos"]:
        assert video["key"] is None  # it has no page
        assert (video["status"] == "failed") == (video["failure"] is not None)


@pytest.mark.parametrize("query", ["status=lost", "status=failed&where=id%3Da"])
def test_a_wrong_status_is_said(partial, get, query):
    assert get(f"/api/videos?{query}").status == 400


def test_what_happens_meanwhile_is_shown(root):
    store = OpenStore(root)
    assert describe_store(store)["failures"]["total"] == 0
    append_failure(root, FAILURE)
    assert describe_store(store)["failures"]["total"] == 1
    assert store.get_absent() is store.get_absent()


def test_the_reader_and_the_table_have_the_same_index(root, monkeypatch):
    """A run may write a new index between the two."""
    store, opened = OpenStore(root), []

    def change_subsets(name):
        table = read_annotations(root)
        assert table is not None
        rows = tuple(replace(row, subsets=(name,)) for row in table.annotations)
        write_annotations(root, AnnotationTable(table.classes, rows))
        rebuild_index(root)

    def open_late(path):
        if not opened:
            change_subsets("late")
        opened.append(VideoList(path))
        return opened[-1]

    change_subsets("early")
    monkeypatch.setattr("flowkit.web.open_store.VideoList", open_late)
    view = store.get()
    assert list(view.store.index.count_subsets()) == ["late"]
    assert view.videos.labels.subset_names == ("late",)


def test_a_video_whose_flow_failed_is_in_the_store_and_failed(make_store):
    root = make_store(("a", "b"), streams=("rgb",), annotated=False)
    append_failure(root, replace(FAILURE, id="a", source=str(root.absolute())))
    absent = OpenStore(root).get_absent()
    assert [video["id"] for video in absent.describe(absent.select("failed"))] == ["a"]
    assert not len(absent.select("missing"))


def test_failed_videos_without_annotations_know_the_subsets_of_the_store(root, get):
    """The page offers the subsets and classes of the store also where a failed video has none."""
    append_failure(root, FAILURE)
    (root / "annotations.arrow").unlink()
    for query in ("subset=test", "class=wave"):
        answer = get(f"/api/videos?status=failed&{query}")
        assert answer.json()["total"] == 0


def test_an_empty_store(tmp_path):
    root = tmp_path / "S"
    create_or_open(root, StoreRecipe(rgb=RGBRecipe(), flow=FlowRecipe()))
    rebuild_index(root)
    facts = describe_store(OpenStore(root))
    assert (facts["videos"], facts["frames"], facts["classes"]) == (0, 0, [])
    assert len(Store(root)) == 0


def test_shards_in_quarantine_are_counted(root):
    (root / "quarantine" / "frames").mkdir(parents=True)
    (root / "quarantine" / "frames" / "x.arrow").touch()
    assert describe_store(OpenStore(root))["quarantined"] == 1


def test_the_outcome_of_the_last_check_is_shown(get, root):
    assert get("/api/overview").json()["verified"] is None
    assert CliRunner().invoke(main, ["verify", str(root)]).exit_code == 0
    good = get("/api/overview").json()["verified"]
    assert (good["problems"], good["first"], good["deep"], good["videos"]) == (0, [], False, 5)
    shard = next((root / "frames").glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    assert CliRunner().invoke(main, ["verify", str(root), "--deep"]).exit_code == 1
    bad = get("/api/overview").json()["verified"]
    assert bad["problems"] >= 1 and bad["deep"] and shard.stem in bad["first"][0]
    (root / "verified.json").write_text("{")
    assert get("/api/overview").json()["verified"] is None


def test_a_store_that_cannot_be_written_is_verified(root, monkeypatch):
    def refuse(path, content):
        raise StoreError(f"cannot write {path}: Read-only file system; check the disk")

    monkeypatch.setattr("flowkit.store.integrity.outcome.write_atomic", refuse)
    result = CliRunner().invoke(main, ["verify", str(root)])
    assert result.exit_code == 0
    assert "all good" in result.output
    assert "the outcome is not recorded in the store: cannot write" in result.output
