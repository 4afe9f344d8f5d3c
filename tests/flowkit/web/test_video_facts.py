"""What the page of a video is told: times, commit records."""

import json

import pytest

from flowkit.errors import CorruptError
from flowkit.store import Store, Video
from flowkit.web.commit_facts import describe_records
from flowkit.web.keys import make_key
from flowkit.web.open_store import OpenStore
from flowkit.web.video_facts import list_times, measure_motion


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (None, (None, 0.04, None)),
        (lambda t: round(t * 1e6 / 29.97), (None, pytest.approx(1 / 29.97, abs=1e-6), None)),
        (lambda t: t * 40_000 + 7 * (t == 2), ([0.0, 0.04, 0.080007, 0.12, 0.16], None, None)),
        (lambda t: 0, ([0.0] * 5, None, None)),
        (lambda t: 40_000 + t * 40_000, ([0.04, 0.08, 0.12, 0.16, 0.2], None, None)),
    ],
    ids=["no times", "constant", "one is late", "all at once", "not from 0"],
)
def test_times_are_listed_only_where_they_vary(make_store, times, expected):
    assert list_times(Store(make_store(["a"], times=times))["a"]) == expected


def test_damaged_times_are_told(get, monkeypatch):
    def fail(video):
        raise CorruptError(f"video {video.id!r}: expected 40 bytes of column time, got 8")

    facts = get(f"/api/video/{make_key('a')}").json()
    assert facts["times_error"] is None
    monkeypatch.setattr(Video, "times", fail)
    facts = get(f"/api/video/{make_key('a')}").json()
    assert (facts["times"], facts["interval"]) == ([], None)
    assert facts["times_error"] == "video 'a': expected 40 bytes of column time, got 8"


def test_a_video_without_flow_has_no_curve(make_store):
    view = OpenStore(make_store(["a"], streams=("rgb",))).get()
    assert measure_motion(view, view.store["a"]) == {"frames": [], "pixels": [], "scale": None}


def test_the_scale_of_the_motion_is_a_length_that_it_reaches(get):
    motion = get(f"/api/video/{make_key('a')}/motion").json()
    assert max(motion["pixels"]) < motion["scale"] <= 20 * 2**0.5


def test_a_commit_record_that_changes_is_read_again_and_its_damage_is_said(make_store):
    root = make_store(["a", "b"])
    view = OpenStore(root).get()
    video = view.store["a"]
    (facts,) = describe_records(root, view, video)
    assert (facts["streams"], facts["warnings"], facts["provenance"]) == (["rgb", "flow"], [], {})
    (path,) = (root / "frames").glob("*.json")
    record = json.loads(path.read_bytes())
    for change, expected in (
        (lambda r: r["videos"][0].update(warnings=["late"], provenance={"host": "h"}), "late"),
        (lambda r: r["videos"].pop(0), "lacks this video"),
        (lambda r: r.update(videos=[7]), "expected a commit record"),
        (lambda r: r.update(format=99), "update flowkit"),
    ):
        change(record)
        write(path.with_suffix(".new"), record).replace(path)
        assert expected in json.dumps(describe_records(root, view, video))
    path.unlink()
    assert "No such file" in describe_records(root, view, video)[0]["error"]


def write(path, values):
    path.write_text(json.dumps(values))
    return path
