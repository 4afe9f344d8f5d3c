"""Presentation times: a column of shards of frames, which older shards lack."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.annotations import explicit_files
from flowkit.errors import StoreError, UsageError
from flowkit.extraction import Options, extract
from flowkit.flow import TVL1Params
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import ShardWriter, Store, create_or_open, rebuild_index, recover
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.frame_times import compute_duration, find_frame, has_constant_rate, list_bounds
from flowkit.store.integrity.verify import verify
from flowkit.streams import SHARED_COLUMNS

GOLDEN = Path(__file__).parents[2] / "golden"
VARIABLE = [20 * k for k in range(50)] + [1000 + 200 * k for k in range(11)]
"""Milliseconds: one second at 50 frames per second, then two seconds at 5."""


@contextmanager
def older_version(monkeypatch):
    """Write shards as versions without times did."""
    append = ShardWriter.append
    with monkeypatch.context() as patch:
        patch.delitem(SHARED_COLUMNS, "frames")
        patch.setattr(ShardWriter, "append", lambda self, time=None, **images: append(
            self, **images
        ))  # fmt: skip
        yield


def write_video(stores, writer, id, rows, times=None, **more):
    writer.begin(id)
    for t, (rgb, x, y) in enumerate(rows):
        writer.append(rgb=rgb, flow_x=x, flow_y=y, **({} if times is None else {"time": times[t]}))
    return writer.end(stores.meta(id, len(rows), **more))


def list_columns(root):
    """The names of the columns of each shard of frames."""
    found = []
    for path in (root / "frames").glob("*.arrow"):
        with path.open("rb") as file:
            found.append(tuple(pa.ipc.open_file(file).schema.names))
    return sorted(found)


# --- functions ------------------------------------------------------------------------------------

steps = st.lists(st.integers(0, 10**6), min_size=1, max_size=40)


@given(steps, st.floats(-1, 50))
def test_the_frame_of_a_time_is_the_last_that_has_begun(gaps, seconds):
    times = (np.cumsum(gaps) - gaps[0]) / 1e6
    frame = find_frame(times, seconds)
    begun = [t for t, time in enumerate(times) if time <= seconds]
    assert frame == (begun[-1] if begun else 0)
    for t, time in enumerate(times):
        assert times[find_frame(times, time)] == time and find_frame(times, time) >= t


@given(steps, st.integers(1, 120))
def test_bounds_enclose_every_frame(gaps, fps):
    times = (np.cumsum(gaps) - gaps[0]) / 1e6
    bounds = list_bounds(times, fps)
    assert len(bounds) == len(times) + 1
    assert (bounds[:-1] == times).all() and (np.diff(bounds) >= -1e-6).all()
    assert bounds[-1] == compute_duration(times[-1], len(times), fps)


def test_a_constant_rate_has_the_bounds_of_its_frames():
    for fps in (10.0, 25.0, 30000 / 1001):
        times = np.round(np.arange(100) / fps, 6)
        np.testing.assert_allclose(list_bounds(times, fps), np.arange(101) / fps, atol=2e-6)
        assert has_constant_rate(np.round(times, 3), fps)  # as Matroska rounds them
        assert not has_constant_rate(times, fps * 1.01) and not has_constant_rate(times, 0.0)


def test_timestamps_that_go_back_do_not_confuse_the_search():
    times = np.array([0.0, 0.4, 0.2, 0.6])
    assert [find_frame(times, s) for s in (0.1, 0.3, 0.5, 0.7)] == [0, 0, 2, 3]
    assert list_bounds(times, 5.0).tolist() == [0.0, 0.4, 0.4, 0.6, 0.8]


# --- stores ---------------------------------------------------------------------------------------


def test_times_are_read_back_over_batches(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    rows = stores.draw_rows(1, 2500)
    times = np.cumsum(np.random.default_rng(0).integers(1, 10**6, 2500)).tolist()
    write_video(stores, writer, "b", rows, times)
    write_video(stores, writer, "a", rows[-3:], [0, 5, 10**9])
    writer.close()
    rebuild_index(tmp_path)
    store = Store(tmp_path)
    assert (store["b"].times() * 1e6).round().astype(int).tolist() == times
    assert store["a"].times().tolist() == [0, 5e-6, 1e3]
    assert store["a"].find_frame(999.0) == 1
    assert verify(tmp_path).clean


def test_others_see_null_where_the_time_is_unknown(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    write_video(stores, writer, "a", stores.draw_rows(1, 4), [0, 40_000, None, 120_000])
    writer.close()
    rebuild_index(tmp_path)
    (path,) = (tmp_path / "frames").glob("*.arrow")
    with path.open("rb") as file:
        batch = pa.ipc.open_file(file).get_batch(0)
        batch.validate(full=True)
        assert batch.column("time").to_pylist() == [0, 40_000, None, 120_000]
    assert Store(tmp_path)["a"].times().tolist() == [0.0, 0.04, 0.08, 0.12]  # at 25 fps
    writer.begin("b")
    with pytest.raises(StoreError, match="time: expected an integer in every row"):
        writer.append(rgb=b"x", time=0.5)


def test_a_store_holds_older_and_newer_shards(stores, tmp_path, monkeypatch):
    root = tmp_path / "S"
    rows = {id: stores.draw_rows(n, 4) for n, id in enumerate("abc")}
    with older_version(monkeypatch):
        stores.fill(root, {"a": rows["a"]})
    writer = ShardWriter(root, recipe=stores.RECIPE)
    write_video(stores, writer, "b", rows["b"], [0, 10, 30, 10**6])
    write_video(stores, writer, "c", rows["c"])
    writer.close()
    assert stores.contents(root) == rows
    store = Store(root)
    assert store["a"].times().tolist() == store["c"].times().tolist() == [0, 0.04, 0.08, 0.12]
    assert store["b"].times().tolist() == [0, 1e-5, 3e-5, 1.0]
    images = ("rgb", "flow_x", "flow_y")
    assert list_columns(root) == [images, (*images, "time")]
    assert verify(root).clean
    with pytest.raises(UsageError, match="stream rgb has no column 'time'"):
        store["a"].vectors("rgb", "time")
    assert store["b"].vectors("rgb", "time").tolist() == [0, 10, 30, 10**6]


@pytest.mark.parametrize("is_older", [True, False])
def test_repair_copies_rows_with_and_without_times(stores, tmp_path, monkeypatch, is_older):
    root = tmp_path / "S"
    create_or_open(root, stores.RECIPE)
    rows = {id: stores.draw_rows(n, 5, 300) for n, id in enumerate("abc")}
    times = [0, 1, 2, 3, 40]
    with older_version(monkeypatch) if is_older else monkeypatch.context():
        writer = ShardWriter(root, recipe=stores.RECIPE)
        for id in rows:
            write_video(stores, writer, id, rows[id], None if is_older else times)
        record = writer.close()
    rebuild_index(root)
    columns = list_columns(root)
    path = root / "frames" / f"{record.uuid}.arrow"
    data = bytearray(path.read_bytes())
    position = data.index(rows["b"][2][0])
    data[position] ^= 1
    path.write_bytes(data)
    report = verify(root, repair=True)
    assert [problem.video for problem in report.problems] == ["b"]
    assert report.lost_videos == ["b"]
    assert list_columns(root) == columns
    assert stores.contents(root) == {id: rows[id] for id in "ac"}
    expected = [0, 0.04, 0.08, 0.12, 0.16] if is_older else [t / 1e6 for t in times]
    assert Store(root)["c"].times().tolist() == expected
    assert verify(root).clean


def test_a_changed_time_is_found(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    write_video(stores, writer, "a", stores.draw_rows(1, 3), [0, 123_456_789, 123_456_790])
    writer.close()
    rebuild_index(tmp_path)
    (path,) = (tmp_path / "frames").glob("*.arrow")
    data = path.read_bytes()
    old = np.int64(123_456_789).tobytes()
    path.write_bytes(data.replace(old, np.int64(123_456_780).tobytes()))
    (problem,) = verify(tmp_path).problems
    assert problem.video == "a" and problem.what == "column time has changed bytes"


@pytest.mark.parametrize("is_older", [True, False])
def test_a_killed_writer_leaves_rows_with_and_without_times(
    stores, tmp_path, monkeypatch, is_older
):
    create_or_open(tmp_path, stores.RECIPE)
    rows, times = stores.draw_rows(1, 4), [0, 7, 8, 9]
    with older_version(monkeypatch) if is_older else monkeypatch.context():
        writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
        write_video(stores, writer, "a", rows, None if is_older else times)
        writer._shard.file.close()  # as the kernel does
    recovery = recover(tmp_path)
    assert recovery.salvaged == ("a",)
    assert recovery.streams == {"a": {"rgb", "flow"}}
    assert stores.contents(tmp_path) == {"a": rows}
    assert ("time" in list_columns(tmp_path)[0]) == (not is_older)
    expected = [0, 0.04, 0.08, 0.12] if is_older else [t / 1e6 for t in times]
    assert Store(tmp_path)["a"].times().tolist() == expected


def test_the_golden_store_gets_times_for_what_is_added(tmp_path, make_clip):
    root = tmp_path / "store"
    shutil.copytree(GOLDEN / "store", root)
    store = Store(root)
    assert store["train/left/0.mp4"].times().tolist() == (np.arange(9) / 25).tolist()
    assert (store["train/left/0.mp4"].duration, store["train/left/0.mp4"].motion) == (0.36, None)
    clip = make_clip(tmp_path / "new.mp4", times=VARIABLE)
    extract(explicit_files([clip]), root, store.recipe, Options(workers=0))
    assert verify(root, deep=True).clean
    store = Store(root)
    assert (store["new.mp4"].times() * 1000).tolist() == pytest.approx(VARIABLE)
    assert store["new.mp4"].motion is not None and store["train/left/0.mp4"].motion is None
    assert store["train/left/0.mp4"].times().tolist() == (np.arange(9) / 25).tolist()


# --- extraction -----------------------------------------------------------------------------------

TINY = TVL1Params(scales=2, warps=1, iterations=5)
RECIPE = StoreRecipe(resize=Resize(mode="none"), rgb=RGBRecipe(), flow=FlowRecipe(tvl1=TINY))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_extraction_keeps_the_times_of_a_variable_rate(tmp_path, make_clip, suffix):
    clip = make_clip(tmp_path / f"a.{suffix}", times=VARIABLE)
    root = tmp_path / "S"
    # Flow is added later: both shards have the same times.
    extract(explicit_files([clip]), root, RECIPE, Options(workers=0, streams=("rgb",)))
    extract(explicit_files([clip]), root, RECIPE, Options(workers=0))
    video = Store(root)[clip.name]
    assert video.streams == ("rgb", "flow")
    assert (video.times() * 1000).tolist() == pytest.approx(VARIABLE)
    for stream in ("rgb", "flow"):
        assert video.vectors(stream, "time").tolist() == [1000 * time for time in VARIABLE]
    assert video.duration == pytest.approx(3.0 * 61 / 60)
    assert [video.find_frame(seconds) for seconds in (0.5, 2.0, 2.1, 9)] == [25, 55, 55, 60]
    records = [v for path in record_paths(root) for v in read_record(path).videos]
    assert {v.streams: v.motion is None for v in records} == {("rgb",): True, ("flow",): False}


def test_flow_brings_times_to_rgb_of_an_older_version(tmp_path, make_clip, monkeypatch):
    clip, root = make_clip(tmp_path / "a.mp4", times=VARIABLE), tmp_path / "S"
    with older_version(monkeypatch):
        extract(explicit_files([clip]), root, RECIPE, Options(workers=0, streams=("rgb",)))
    rgb = Store(root)["a.mp4"]
    assert rgb.times().tolist() == (np.arange(61) / rgb.fps).tolist()
    extract(explicit_files([clip]), root, RECIPE, Options(workers=0))
    video = Store(root)["a.mp4"]
    assert video.streams == ("rgb", "flow")
    assert (video.times() * 1000).tolist() == pytest.approx(VARIABLE)
    assert verify(root, deep=True).clean


def test_resampled_frames_have_the_times_of_their_rate(tmp_path, make_clip):
    from dataclasses import replace

    clip = make_clip(tmp_path / "a.mp4", times=VARIABLE)
    recipe = replace(RECIPE, fps=10.0, flow=None)
    extract(explicit_files([clip]), tmp_path / "S", recipe, Options(workers=0, streams=("rgb",)))
    video = Store(tmp_path / "S")["a.mp4"]
    assert video.times().tolist() == (np.arange(video.num_frames) / 10).tolist()
    assert video.duration == pytest.approx(video.num_frames / 10)


def test_a_video_without_frames_has_no_times(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, "audio", recipe=stores.RECIPE)
    stores.put_audio(writer, "a", 2)
    writer.close()
    rebuild_index(tmp_path)
    with pytest.raises(UsageError, match="'a' has no frames, only audio"):
        Store(tmp_path)["a"].times()
