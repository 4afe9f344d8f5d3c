import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowkit.cli import main
from flowkit.errors import FormatError, LockedError, StoreError
from flowkit.store import rebuild_index
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import hold_store
from flowkit.store.format.records import read_record
from flowkit.store.format.schema import Fingerprint, VideoMeta
from flowkit.store.integrity.inspection import Inspection
from flowkit.store.integrity.outcome import read_outcome
from flowkit.store.integrity.recovery import recover
from flowkit.store.integrity.verify import Report, verify
from flowkit.store.reader import Store
from flowkit.store.writer import ShardWriter

IDS = ("a", "b/ü #1", "c")


def shards(root: Path, folder: str = "frames") -> list[Path]:
    return sorted((root / folder).glob("*.arrow"))


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def contents(root: Path) -> dict[str, list[bytes]]:
    """Every byte that a store gives out, by video."""
    rebuild_index(root)
    store = Store(root)
    return {
        id: [store[id].rgb_bytes(t) for t in range(store[id].num_frames)]
        + [data for t in range(store[id].num_flow) for data in store[id].flow_bytes(t)]
        for id in store
    }


def test_a_good_store_is_clean(make_store):
    root = make_store(IDS, per_shard=2)
    report = verify(root, deep=True)
    assert report.clean
    assert (report.shards, report.videos) == (2, 3)
    assert report.bytes == sum(path.stat().st_size for path in shards(root))
    assert not report.notes


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_the_outcome_names_files_whose_names_are_not_unicode(make_store, option):
    root = make_store(IDS)
    Path(os.fsdecode(os.fsencode(root / "frames") + b"/caf\xe9.json")).write_text("{")
    result = CliRunner().invoke(main, ["verify", str(root), *option])
    assert result.exit_code == 1 and result.exception.__class__ is SystemExit
    outcome = read_outcome(root)
    assert outcome is not None and "frames/caf\\xe9" in outcome.first[0]
    assert "3 problems" in result.stdout or len(json.loads(result.stdout)["problems"]) == 3


def test_progress_ends_at_the_total(make_store):
    seen = []
    report = verify(make_store(IDS), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (report.bytes, report.bytes)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_byte_is_found_and_repaired(make_store, tmp_path_factory, data):
    root = make_store(IDS, root=tmp_path_factory.mktemp("flip") / "store")
    before = contents(root)
    (shard,) = shards(root)
    position = data.draw(st.integers(0, shard.stat().st_size - 1))
    flip(shard, position, data.draw(st.integers(0, 7)))

    report = verify(root)
    assert not report.clean
    assert all(problem.shard == f"frames/{shard.stem}" for problem in report.problems)
    named = {problem.video for problem in report.problems} - {None}

    repaired = verify(root, repair=True)
    assert set(repaired.lost_videos) == named
    assert verify(root, deep=True).clean
    after = contents(root)
    assert after == {id: rows for id, rows in before.items() if id not in named}
    assert (root / "quarantine" / "frames" / shard.name).exists()


def test_a_flip_in_a_column_names_its_video_and_column(make_store):
    root = make_store(IDS)
    store = Store(root)
    wanted = store["c"].flow_bytes(1)[1]
    (shard,) = shards(root)
    flip(shard, shard.read_bytes().index(wanted) + 20)
    (problem,) = verify(root).problems
    assert problem.video == "c"
    assert "flow_y" in problem.what


def test_a_flip_in_the_footer_names_the_shard_alone(make_store):
    root = make_store(IDS)
    (shard,) = shards(root)
    flip(shard, shard.stat().st_size - 3)
    (problem,) = verify(root).problems
    assert (problem.shard, problem.video) == (f"frames/{shard.stem}", None)
    assert verify(root, repair=True).lost_videos == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_a_cut_shard_keeps_its_first_videos(make_store, share):
    root = make_store(IDS)
    before = contents(root)
    (shard,) = shards(root)
    shard.write_bytes(shard.read_bytes()[: int(shard.stat().st_size * share)])
    found = verify(root, repair=True)
    assert "bytes, its record says" in found.problems[0].what
    assert all(problem.what.endswith(": the shard is truncated") for problem in found.problems[1:])
    after = contents(root)
    assert sorted(after) == sorted(set(before) - set(found.lost_videos))
    assert all(after[id] == before[id] for id in after)
    assert verify(root, deep=True).clean


def test_the_video_of_a_lost_shard_is_lost(make_store):
    root = make_store(IDS, per_shard=1)
    shards(root)[0].unlink()
    report = verify(root, repair=True)
    assert len(report.lost_videos) == 1
    assert "gone" in report.problems[0].what
    assert verify(root).clean
    assert len(Store(root)) == 2


def test_a_lost_record_is_written_again(make_store):
    root = make_store(IDS)
    before = contents(root)
    shards(root)[0].with_suffix(".json").unlink()
    assert "lost its commit record" in str(verify(root).problems[0])
    assert verify(root, repair=True).lost_videos == []
    assert verify(root, deep=True).clean
    assert contents(root) == before


def test_a_shard_that_never_had_a_record_is_only_noted(make_store):
    """A kill, or a disk that fills, between a shard and its record."""
    root = make_store(IDS)
    shards(root)[0].with_suffix(".json").unlink()
    (root / "index.arrow").unlink()
    rebuild_index(root)  # as if the record had never been
    report = verify(root, deep=True)
    assert report.clean
    assert any("before its commit record" in note for note in report.notes)
    recover(root)
    rebuild_index(root)
    assert len(Store(root)) == len(IDS)


def test_a_lost_record_of_a_bad_shard(make_store):
    root = make_store(IDS)
    before = contents(root)
    (shard,) = shards(root)
    shard.with_suffix(".json").unlink()
    flip(shard, shard.read_bytes().index(before["a"][2]) + 40)
    report = verify(root, repair=True)
    assert {problem.video for problem in report.problems} >= {"a"}
    assert report.lost_videos == ["a"]
    assert verify(root, deep=True).clean
    assert contents(root) == {id: rows for id, rows in before.items() if id != "a"}


@pytest.mark.parametrize("share", [0.3, 0.999])
@pytest.mark.parametrize("content", [None, b"{"])
@pytest.mark.parametrize("has_index", [False, True])
def test_a_cut_shard_without_a_usable_record_keeps_its_first_videos(
    make_store, share, content, has_index
):
    root = make_store(IDS)
    before = contents(root)
    (shard,) = shards(root)
    shard.write_bytes(shard.read_bytes()[: int(shard.stat().st_size * share)])
    record = shard.with_suffix(".json")
    record.unlink() if content is None else record.write_bytes(content)
    if not has_index:
        (root / "index.arrow").unlink()
    report = verify(root, repair=True)
    lost = {"b/ü #1", "c"} if share == 0.3 else set()
    listed_lost = lost if has_index else set()
    assert {problem.video for problem in report.problems} >= (listed_lost or {None})
    reasons = {problem.what for problem in report.problems if problem.video in listed_lost}
    words = "the shard is truncated, or a batch header has changed bytes"
    assert reasons == ({f"its rows cannot be found: {words}"} if listed_lost else set())
    assert not any("to recovery" in line for line in report.repaired)
    assert set(report.lost_videos) == listed_lost
    assert contents(root) == {id: rows for id, rows in before.items() if id not in lost}
    assert verify(root, deep=True).clean


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 1, "videos": 3}']
)
def test_a_broken_record_is_written_again(make_store, content):
    root = make_store(IDS)
    before = contents(root)
    shards(root)[0].with_suffix(".json").write_bytes(content)
    assert "record is broken" in str(verify(root).problems[0])
    verify(root, repair=True)
    assert verify(root, deep=True).clean
    assert contents(root) == before


def test_a_record_that_tells_another_story_is_written_again(make_store):
    root = make_store(IDS)
    before = contents(root)
    path = shards(root)[0].with_suffix(".json")
    values = json.loads(path.read_text())
    values["videos"][1]["fps"] = 24.0
    path.write_text(json.dumps(values))
    rebuild_index(root)
    (problem,) = verify(root).problems
    assert "does not match its batches" in problem.what
    verify(root, repair=True)
    assert verify(root).clean
    assert contents(root) == before
    assert Store(root)["b/ü #1"].fps == 25.0


def test_a_record_of_a_newer_format_is_left_alone(make_store):
    root = make_store(IDS)
    path = shards(root)[0].with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    before = path.read_bytes()
    assert "update flowkit" in str(verify(root).problems[0])
    with pytest.raises(FormatError, match="before you repair"):
        verify(root, repair=True)
    assert path.read_bytes() == before


def test_a_newer_store_is_refused(make_store):
    root = make_store(IDS)
    header = json.loads((root / "store.json").read_text())
    (root / "store.json").write_text(json.dumps(header | {"format": 2}))
    with pytest.raises(FormatError, match="update flowkit"):
        verify(root)


def test_a_changed_recipe_is_noticed_once(make_store):
    """Another bound would scale all flow, and the bytes of all shards are as committed."""
    root = make_store(IDS, per_shard=1)
    content = json.loads((root / "store.json").read_text())
    content["recipe"]["flow"]["bound"] = 1.5
    (root / "store.json").write_text(json.dumps(content))
    assert [str(problem) for problem in verify(root).problems] == [
        "store: store.json has another recipe than its shards (flow.bound: 1.5 ≠ 20.0); restore it"
    ]


def test_nothing_is_copied_with_the_recipe_of_a_changed_store_json(make_store):
    """The copies would say that they were written with it."""
    root = make_store(IDS, per_shard=1)
    damaged = shards(root)[0]
    damaged.write_bytes(damaged.read_bytes()[:-50])
    text = (root / "store.json").read_text()
    changed = json.loads(text)
    changed["recipe"]["flow"]["bound"] = 1.5
    (root / "store.json").write_text(json.dumps(changed))
    with pytest.raises(StoreError, match=r"flow.bound: 1.5 ≠ 20.0\): restore it before you repair"):
        verify(root, repair=True)
    (root / "store.json").write_text(text)
    assert not verify(root, repair=True).clean
    assert verify(root).clean


def append(root: Path, id: str, rows: list[dict], **facts) -> None:
    """Commit one more video, whatever it is made of."""
    recipe = read_header(root).recipe
    writer = ShardWriter(root, facts.pop("folder", "frames"), recipe=recipe)
    writer.begin(id)
    for row in rows:
        writer.append(**row)
    values = {
        "source": "x.mp4", "fingerprint": Fingerprint(1, 1, "0" * 32), "streams": ("rgb", "flow"),
        "fps": 25.0, "width": 40, "height": 24,
    }  # fmt: skip
    writer.end(VideoMeta(**{"id": id, "frames": len(rows), **values, **facts}))
    writer.close()
    rebuild_index(root)


def rows_of(root: Path, id: str) -> list[dict]:
    video = Store(root)[id]
    rows = [{"rgb": video.rgb_bytes(t)} for t in range(video.num_frames)]
    for t in range(video.num_flow):
        rows[t]["flow_x"], rows[t]["flow_y"] = video.flow_bytes(t)
    return rows


def test_a_video_committed_twice_is_reported_and_one_is_kept(make_store):
    root = make_store(IDS)
    before = contents(root)
    append(root, "c", rows_of(root, "c"))
    problems = verify(root).problems
    assert {problem.video for problem in problems} == {"c"}
    assert "committed twice" in problems[0].what
    report = verify(root, repair=True)
    assert report.lost_videos == []
    assert verify(root).clean
    assert contents(root) == before


def test_a_superseded_video_is_only_noted(make_store):
    root = make_store(IDS)
    append(root, "c", rows_of(root, "a"), supersedes=True)
    report = verify(root)
    assert report.clean
    assert any("superseded" in note for note in report.notes)


def test_repair_does_not_bring_a_superseded_video_back(make_store):
    root = make_store(IDS)
    (old,) = shards(root)
    append(root, "c", rows_of(root, "a"), supersedes=True)
    before = contents(root)
    flip(old, old.stat().st_size - 3)
    assert verify(root, repair=True).lost_videos == []
    assert contents(root) == before
    assert verify(root).clean


@pytest.mark.parametrize("moved", [(), (".json",)])
def test_a_killed_repair_is_finished_without_copies(make_store, moved):
    """Killed after the whole videos were carried over, before the bad shard was moved away."""
    root = make_store(IDS)
    before = contents(root)
    (bad,) = shards(root)
    flip(bad, bad.stat().st_size - 3)
    verify(root, repair=True)
    for ending in {".arrow", ".json"} - set(moved):
        name = f"{bad.stem}{ending}"
        (root / "quarantine" / "frames" / name).rename(root / "frames" / name)
    assert not verify(root).clean
    verify(root, repair=True)
    assert verify(root).clean
    assert contents(root) == before


def test_a_repair_that_was_killed_before_a_record_leaves_no_copy(make_store, monkeypatch):
    root = make_store(IDS)
    before = contents(root)
    (bad,) = shards(root)
    flip(bad, bad.stat().st_size - 3)

    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flowkit.store.format.shard_file.record_shard", die)
        with pytest.raises(KeyboardInterrupt):
            verify(root, repair=True)
    (copied,) = set(shards(root)) - {bad}
    assert not copied.with_suffix(".json").exists()
    report = verify(root, repair=True)
    assert f"wrote the missing commit record of frames/{copied.stem}" in report.repaired
    assert verify(root).clean
    assert contents(root) == before
    assert not list((root / "frames").glob(f"*{bad.stem}*"))


def test_an_index_that_differs_from_the_records_is_found(make_store):
    root = make_store(IDS, per_shard=1)
    stale = (root / "index.arrow").read_bytes()
    append(root, "d", rows_of(root, "a"))
    fresh = (root / "index.arrow").read_bytes()
    (root / "index.arrow").write_bytes(stale)
    assert "lacks 1 commit records" in str(verify(root).problems[0])

    place = fresh.index(b"videos/1.mp4")
    (root / "index.arrow").write_bytes(fresh[:place] + b"videos/7.mp4" + fresh[place + 12 :])
    assert "does not match" in str(verify(root).problems[0])

    (root / "index.arrow").write_bytes(b"ARROW1 nonsense")
    assert "broken" in str(verify(root).problems[0])

    (root / "index.arrow").unlink()
    assert "missing" in str(verify(root).problems[0])
    verify(root, repair=True)
    assert verify(root).clean


def test_deep_finds_what_was_written_wrong(make_store):
    root = make_store(IDS)
    good = rows_of(root, "a")
    cases = {
        "broken": [
            {**row, "rgb": row["rgb"][:-40]} if t == 1 else row for t, row in enumerate(good)
        ],
        "null": [{**row, "flow_x": None} if t == 1 else row for t, row in enumerate(good)],
        "colour": [{**row, "flow_y": row["rgb"]} if t == 1 else row for t, row in enumerate(good)],
        "late": [{**row, **{k: v for k, v in good[0].items() if k != "rgb"}} for row in good],
    }
    for id, rows in cases.items():
        append(root, id, rows)
    append(root, "size", good, width=41)
    assert verify(root).clean
    found = {problem.video: problem.what for problem in verify(root, deep=True).problems}
    assert found["broken"] == "frame 1: rgb is not a complete JPEG file"
    assert found["null"] == "frame 1: flow_x is missing"
    assert found["colour"] == "frame 1: flow_y is not grey but YCbCr"
    assert "is not null" in found["late"]
    assert "more findings" in found["size"]
    report = verify(root, deep=True, repair=True)
    assert report.lost_videos == sorted([*cases, "size"])
    assert verify(root, deep=True).clean
    assert sorted(Store(root)) == sorted(IDS)


def test_deep_looks_at_audio(make_store):
    root = make_store(IDS)
    patch = np.ones((96, 64), np.float32)
    facts = {"folder": "audio", "streams": ("audio",), "width": 0, "height": 0}
    append(root, "a", [{"patch": patch}, {"patch": patch}], **facts)
    assert verify(root, deep=True).clean
    append(root, "c", [{"patch": patch}, {"patch": patch * np.nan}], **facts)
    (problem,) = verify(root, deep=True).problems
    assert (problem.video, problem.what) == ("c", "row 1: patch is not finite")


def test_a_video_without_sound_has_an_empty_part_of_audio(make_store):
    root = make_store(IDS)
    facts = {"folder": "audio", "streams": ("audio",), "width": 0, "height": 0}
    append(root, "a", [], **facts)
    assert verify(root, deep=True).clean
    (shard,) = shards(root, "audio")
    flip(shard, shard.stat().st_size - 3)
    assert verify(root, repair=True).lost_videos == []
    assert Store(root)["a"].audio().shape == (0, 96, 64)
    assert verify(root, deep=True).clean


def test_small_streams_are_repaired(make_store):
    """Audio and features: many videos in a batch, of which one bad byte takes all."""
    root = make_store(("a",))
    patches = np.random.default_rng(0).random((3, 96, 64), np.float32)
    facts = {"folder": "audio", "streams": ("audio",), "width": 0, "height": 0}
    append(root, "a", [{"patch": patches[0]}], **facts)
    append(root, "b", [{"patch": patches[1]}, {"patch": patches[2]}], **facts)
    place = next(
        path for path in shards(root, "audio") if patches[2].tobytes() in path.read_bytes()
    )
    flip(place, place.read_bytes().index(patches[2].tobytes()) + 5)
    (problem,) = verify(root).problems
    assert (problem.video, problem.what) == ("b", "column patch has changed bytes")
    assert verify(root, repair=True).lost_videos == ["b"]

    (good,) = shards(root, "audio")
    flip(good, good.stat().st_size - 3)
    assert verify(root, repair=True).lost_videos == []
    assert (Store(root)["a"].audio() == patches[:1]).all()
    assert verify(root, deep=True).clean


def test_a_video_of_many_batches_is_lost_alone(make_store):
    root = make_store(("long", "short"), frames=1030, width=8, height=8, streams=("rgb",))
    before = contents(root)
    (shard,) = shards(root)
    flip(shard, shard.read_bytes().rindex(before["long"][1029]) + 30)
    (problem,) = verify(root).problems
    assert problem.video == "long"
    assert verify(root, repair=True).lost_videos == ["long"]
    assert contents(root) == {"short": before["short"]}
    assert verify(root, deep=True).clean


def test_leftovers_are_noted(make_store):
    root = make_store(IDS)
    (root / "frames" / "dead.arrow.part").write_bytes(b"")
    report = verify(root)
    assert report.clean
    assert "killed run" in report.notes[0]


def test_repair_waits_for_nobody(make_store):
    root = make_store(IDS)
    with hold_store(root), pytest.raises(LockedError):
        verify(root, repair=True)
    with hold_store(root):
        assert verify(root).clean


def test_a_record_is_as_it_was_after_repair(make_store):
    """Facts of carried videos are those of the first extraction."""
    root = make_store(IDS)
    (bad,) = shards(root)
    before = read_record(bad.with_suffix(".json")).videos
    flip(bad, bad.stat().st_size - 3)
    verify(root, repair=True)
    (good,) = shards(root)
    after = read_record(good.with_suffix(".json")).videos
    assert after == before


@pytest.mark.parametrize("is_busy", [False, True])
@pytest.mark.parametrize("index", ["missing", "old"])
def test_an_index_that_a_running_extraction_will_write_is_only_noted(make_store, is_busy, index):
    root = make_store(IDS)
    stale = (root / "index.arrow").read_bytes()
    append(root, "d", rows_of(root, "a"))
    (root / "index.arrow").write_bytes(stale)
    if index == "missing":
        (root / "index.arrow").unlink()
    answers = iter([is_busy])  # asked when the index is compared, not before
    report = Inspection(root, read_header(root), None, None, lambda: next(answers)).run()
    assert report.clean == is_busy
    texts = report.notes if is_busy else [str(problem) for problem in report.problems]
    assert any("index.arrow" in text for text in texts)
    assert next(answers, None) is None


def test_inspection_reads_a_hostile_shard(make_store):
    """Random bytes where a shard was: named, not crashed upon."""
    root = make_store(IDS)
    (shard,) = shards(root)
    rng = np.random.default_rng(0)
    shard.write_bytes(rng.integers(0, 256, shard.stat().st_size, np.uint8).tobytes())
    report: Report = Inspection(root, read_header(root), None, None, lambda: False).run()
    assert {problem.video for problem in report.problems} >= set(IDS)


def test_a_copied_store_is_as_good(make_store, tmp_path):
    root = make_store(IDS)
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copy)  # with new times
    assert verify(copy, deep=True).clean


@pytest.mark.parametrize("content", [b"", b"no Arrow at all"])
def test_broken_annotations_are_named(make_store, content):
    root = make_store(IDS)
    (root / "annotations.arrow").write_bytes(content)
    (problem,) = verify(root).problems
    assert "annotations.arrow is broken" in problem.what
