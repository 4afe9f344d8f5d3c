"""Runs that compute feature files: their rows and JSON files, and which videos they compute."""

import io
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flowkit.annotations import RejectedVideo
from flowkit.errors import StoreError, UsageError
from flowkit.extraction import locate_stored_videos
from flowkit.store import Store
from flowkit.store.failures import read_failures
from tests.train.feature_files.conftest import (
    compute,
    load_rows,
    locate,
    read_files,
    read_info,
)
from train.feature_files.worker import Worker

pytestmark = pytest.mark.usefixtures("mirrors")


@pytest.fixture
def clips(tmp_path, make_clip):
    return [make_clip(tmp_path / "v" / f"{n}.mp4", frames=9 + n, seed=n) for n in range(3)]


def test_the_files_of_a_run(tmp_path, clips, make_request):
    request = make_request()
    summary = compute(locate(*clips), request)
    assert (summary.computed, summary.left, summary.rows) == (3, 0, 2 + 3 + 3)
    assert summary.frames == 9 + 10 + 11
    assert sorted(read_files(request.out)) == sorted(
        f"{n}.{kind}" for n in range(3) for kind in ("json", "npy")
    )
    rows, info = np.load(request.out / "1.npy"), read_info(request.out, "1")
    assert rows.dtype == np.float32
    assert rows.shape == (3, (3 + 2) * 4 * 64)
    assert summary.bytes == sum(np.load(path).nbytes for path in request.out.glob("*.npy"))
    assert list(info) == [
        "format", "id", "source", "fingerprint", "files", "rows", "frames", "frame_rate",
        "source_frame_rate", "duration", "width", "height", "start_seconds", "end_seconds",
        "padding", "warnings", "recipe", "provenance",
    ]  # fmt: skip
    (file,) = info["files"]
    assert file["columns"] == {"rgb": [0, 768], "flow": [768, 1280]}
    assert (info["id"], info["rows"], info["width"], info["height"]) == ("1.mp4", 3, 16, 12)
    assert info["source"] == str(clips[1])
    assert info["recipe"]["windows"]["stride"] == 3
    assert set(info["recipe"]["networks"]) == {"rgb", "flow"}
    assert info["provenance"]["backend"] == summary.backend != ""


def test_a_repeated_run_computes_nothing(clips, make_request):
    request = make_request()
    compute(locate(*clips), request)
    before = {p.name: p.stat().st_mtime_ns for p in request.out.iterdir() if p.is_file()}
    again = compute(locate(*clips), request)
    assert (again.computed, again.done_before) == (0, 3)
    after = {p.name: p.stat().st_mtime_ns for p in request.out.iterdir() if p.is_file()}
    assert after == before


def test_a_video_is_done_when_its_json_and_all_its_files_exist(clips, make_request):
    request = make_request(layout="separate")
    compute(locate(*clips), request)
    whole = read_files(request.out)
    assert {"0.rgb.npy", "0.flow.npy", "0.json"} < set(whole)
    (request.out / "0.json").unlink()
    (request.out / "1.flow.npy").unlink()
    again = compute(locate(*clips), request)
    assert (again.computed, again.done_before) == (2, 1)
    assert read_files(request.out) == whole


def test_separate_files_are_the_columns_of_one(tmp_path, clips, make_request):
    compute(locate(*clips), make_request())
    separate = make_request(layout="separate", out=tmp_path / "separate")
    compute(locate(*clips), separate)
    both = np.load(tmp_path / "feats" / "2.npy")
    parts = [np.load(separate.out / f"2.{stream}.npy") for stream in ("rgb", "flow")]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), both)
    files = read_info(separate.out, "2")["files"]
    assert [(file["name"], file["shape"], file["columns"]) for file in files] == [
        ("2.rgb.npy", [3, 768], {"rgb": [0, 768]}), ("2.flow.npy", [3, 512], {"flow": [0, 512]}),
    ]  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_batch_changes_nothing_but_rounding(tmp_path, clips, make_request, batch):
    compute(locate(*clips), make_request())
    other = make_request(out=tmp_path / "other")
    compute(locate(*clips), other, batch=batch)
    for path in other.out.glob("*.npy"):
        np.testing.assert_allclose(np.load(path), np.load(tmp_path / "feats" / path.name), 1e-6)
    assert [read_info(other.out, n)["start_seconds"] for n in "012"] == [
        read_info(tmp_path / "feats", n)["start_seconds"] for n in "012"
    ]


def test_parts_at_the_same_time(tmp_path, clips, make_request):
    whole, parts = make_request(out=tmp_path / "whole"), make_request(out=tmp_path / "parts")
    compute(locate(*clips), whole)
    results = []

    def run(part):
        results.append(compute(locate(*clips), parts, part=part))

    threads = [threading.Thread(target=run, args=((i, 2),)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(summary.computed for summary in results) == 3
    assert read_files(parts.out) == read_files(whole.out)


def test_limit(clips, make_request):
    request = make_request()
    first = compute(locate(*clips), request, limit=2)
    assert (first.computed, first.beyond, first.complete) == (2, 1, False)
    assert compute(locate(*clips), request, limit=2).computed == 1


def test_update_computes_changed_sources_again(clips, make_clip, make_request):
    request = make_request()
    compute(locate(*clips), request)
    make_clip(clips[1], frames=20, seed=9)
    os.utime(clips[2])  # touched, with the same content
    kept = compute(locate(*clips), request)
    assert (kept.changed, kept.done_before, kept.computed) == (["1.mp4"], 2, 0)
    assert read_info(request.out, "1")["frames"] == 10
    updated = compute(locate(*clips), request, update=True)
    assert (updated.changed, updated.done_before, updated.computed) == ([], 2, 1)
    assert read_info(request.out, "1")["frames"] == 20
    assert len(np.load(request.out / "1.npy")) == 6


def test_an_update_that_fails_keeps_the_old_files(clips, make_request):
    request = make_request()
    compute(locate(*clips), request)
    before = read_files(request.out)
    clips[1].write_bytes(b"")
    summary = compute(locate(*clips), request, update=True)
    assert [failure.kind for failure in summary.failed] == ["empty"]
    assert (summary.computed, summary.left) == (0, 0)
    assert read_files(request.out) == before


def test_an_update_that_is_stopped_counts_what_it_has_not_done(
    clips, make_clip, make_request, monkeypatch
):
    request = make_request()
    compute(locate(*clips), request)
    for n, clip in enumerate(clips):
        make_clip(clip, frames=20, seed=n + 9)
    real = Worker.extract

    def stop_after_one(worker, task):
        outcome = real(worker, task)
        worker.stop()
        return outcome

    monkeypatch.setattr(Worker, "extract", stop_after_one)
    summary = compute(locate(*clips), request, update=True)
    assert (summary.computed, summary.left) == (1, 2)


def test_a_video_begins_with_a_share_of_zero(clips, make_request, monkeypatch):
    shares = []
    real = Worker._compute_files

    def record_share(worker, task):
        shares.append(worker.share)
        return real(worker, task)

    monkeypatch.setattr(Worker, "_compute_files", record_share)
    compute(locate(*clips), make_request())
    assert shares == [0.0, 0.0, 0.0]


def test_names_of_files(tmp_path, make_clip, make_request):
    long = "ü" * 120 + ".mp4"  # 244 bytes, 724 when encoded
    deep = f"{'d' * 150}/{'e' * 150}.mp4"
    names = ["a b/c#?.mp4", "-x%2F.avi.mp4", ".hidden.mkv", "no extension", "UPPER.MP4", long, deep]
    root = tmp_path / "v"
    clip = make_clip(tmp_path / "clip.mp4", frames=5)
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes())
    request = make_request(streams=("rgb",))
    summary = compute(locate(*paths, root=root), request)
    assert (summary.computed, summary.failed) == (7, [])
    stems = {path.stem for path in request.out.glob("*.npy")}
    assert stems == {path.stem for path in request.out.glob("*.json")}
    plain = {"a%20b%2Fc%23%3F", "-x%252F.avi", "%2Ehidden", "no%20extension", "UPPER"}
    assert plain < stems
    of_umlauts, of_letters = sorted(stems - plain)
    assert of_umlauts.startswith("%C3%BC%C3%BC")
    assert of_letters.startswith("dd")
    assert max(len(f"{stem}.flow.npy.01234567.part") for stem in stems) <= 255
    ids = {read_info(request.out, stem)["id"] for stem in stems}
    assert ids == set(names)
    assert compute(locate(*paths, root=root), request).done_before == 7


def test_two_videos_with_one_name(tmp_path, make_clip, make_request):
    paths = [make_clip(tmp_path / "v" / name, frames=5) for name in ("a.mp4", "a.mkv")]
    with pytest.raises(UsageError, match=r"'a.mkv' and 'a.mp4' would both be written to a.npy"):
        compute(locate(*paths), make_request(streams=("rgb",)))
    request = make_request(streams=("rgb",), keep_extension=True)
    compute(locate(*paths), request)
    assert {path.name for path in request.out.glob("*.npy")} == {"a.mp4.npy", "a.mkv.npy"}


def test_the_files_of_another_video_or_person_are_never_replaced(tmp_path, make_clip, make_request):
    paths = [make_clip(tmp_path / "v" / name, frames=5) for name in ("a.mp4", "a.mkv")]
    request = make_request(streams=("rgb",))
    compute(locate(paths[0]), request)
    before = read_files(request.out)
    with pytest.raises(UsageError, match=r"a.json has the features of 'a.mp4', and 'a.mkv' would"):
        compute(locate(paths[1]), request)
    notes = request.out / "b.json"
    notes.write_text('{"database": {}}')
    with pytest.raises(UsageError, match=r"b.json would be the description of 'b.mp4', and is"):
        compute(locate(paths[0].rename(tmp_path / "v" / "b.mp4")), request)
    assert read_files(request.out) == before | {"b.json": notes.read_bytes()}


def test_a_damaged_json_is_computed_again(clips, make_request):
    request = make_request()
    compute(locate(*clips), request)
    before = read_files(request.out)
    (request.out / "1.json").write_text('{"id": "1.mp4", ')
    assert compute(locate(*clips), request).computed == 1
    assert read_files(request.out) == before


def test_a_json_that_cannot_be_read_is_kept(clips, make_request, monkeypatch):
    request = make_request()
    compute(locate(*clips), request)
    before, read_bytes = read_files(request.out), Path.read_bytes

    def refuse(path):
        if path.name == "1.json":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        with pytest.raises(StoreError, match=r"1\.json cannot be read \(Permission denied\)"):
            compute(locate(*clips), request)
    assert read_files(request.out) == before


# --- videos that are left out ----------------------------------------------------------------


def test_missing_rejected_and_unannotated_videos_are_reported(tmp_path, clips, make_request):
    rejected = RejectedVideo("x.mp4", tmp_path / "x.mp4", "duplicate-id", "two files are x.mp4")
    located = replace(
        locate(*clips), missing=("gone.mp4",), unannotated=(tmp_path / "extra.mp4",),
        rejected=(rejected,),
    )  # fmt: skip
    request = make_request(streams=("rgb",))
    summary = compute(located, request)
    assert (summary.missing, summary.unannotated) == (["gone.mp4"], [str(tmp_path / "extra.mp4")])
    assert [(failure.id, failure.kind) for failure in summary.failed] == [("x.mp4", "duplicate-id")]
    assert summary.without_features == 1
    assert read_failures(request.out / ".flowkit")["x.mp4"].reason == "two files are x.mp4"
    console = Console(width=100, file=io.StringIO())
    console.print(summary.render())
    text = console.file.getvalue()
    for words in ("gone.mp4", "extra.mp4", "two files are x.mp4", "annotated but missing on disk"):
        assert words in text
    again = compute(located, request)
    assert [failure.id for failure in again.quarantined] == ["x.mp4"]
    assert len((request.out / ".flowkit" / "failures.jsonl").read_text().splitlines()) == 1


def test_failed_videos_are_tried_again_when_asked_or_replaced(tmp_path, clips, make_request):
    clips[0].write_bytes(b"no video")
    request = make_request(streams=("rgb",))
    assert [failure.id for failure in compute(locate(*clips), request).failed] == ["0.mp4"]
    again = compute(locate(*clips), request)
    assert ([f.id for f in again.quarantined], again.failed) == (["0.mp4"], [])
    assert [f.id for f in compute(locate(*clips), request, retry_failed=True).failed] == ["0.mp4"]
    clips[0].write_bytes(clips[1].read_bytes())
    assert compute(locate(*clips), request).computed == 1


def test_weights_that_are_not_finite(clips, make_request):
    request = make_request(model="clips*nan")
    summary = compute(locate(*clips), request)
    assert {failure.kind for failure in summary.failed} == {"not-finite"}
    assert summary.is_failure
    assert not read_files(request.out)


# --- stores ----------------------------------------------------------------------------------


def test_the_videos_of_a_store(tmp_path, make_store, make_request):
    root = make_store(["a.mp4", "b/c.mp4"], frames=9, width=16, height=12)
    store = Store(root)
    request = make_request(frames=store.recipe, store=root)
    summary = compute(locate_stored_videos(root), request)
    assert (summary.computed, summary.backend) == (2, "")
    rows = load_rows(request.out / "a.npy")
    video, windows = store["a.mp4"], request.windows
    indices = windows.list_frames(9)
    rgb = np.stack([video.rgb(t) for t in range(9)])[:, 2:10, 4:12] / 255
    flow = np.stack([video.flow(t) for t in range(8)])[:, 2:10, 4:12] / 20
    expected = rgb[indices].transpose(0, 4, 1, 2, 3)
    np.testing.assert_allclose(rows["rgb"], expected, atol=1e-6)
    expected = flow[indices.clip(0, 7)].transpose(0, 4, 1, 2, 3)
    np.testing.assert_allclose(rows["flow"], expected, atol=1e-6)
    assert read_info(request.out, "b%2Fc")["id"] == "b/c.mp4"
    assert compute(locate_stored_videos(root), request).done_before == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": ("rgb",)}, "has no flow, only rgb: extract it with --streams flow"),
        ({"step": 2}, r"has step 2; feature files need flow to the next frame"),
        ({"step": -1}, r"has step -1; feature files need flow to the next frame"),
    ],
)
def test_stores_that_lack_flow_to_the_next_frame(make_store, make_request, options, message):
    root = make_store(["a"], **options)
    request = make_request(frames=Store(root).recipe, store=root)
    with pytest.raises(UsageError, match=message):
        compute(locate_stored_videos(root), request)
    assert not request.out.exists()
