import hashlib
import os
import resource
import shutil

import numpy as np
import pytest

from flowkit.errors import DiskFullError, UsageError
from flowkit.interchange.export import export
from flowkit.interchange.formats import sharded_format
from flowkit.store import rebuild_index
from flowkit.store.format.jpeg import encode_rgb

LISTS = ("videos.csv", "classes.txt", "shards.json")
IDS = ("a", "b/ü #1", "c.d.mp4", "v_Archery_g01_c01", "..", "x" * 300 + ".avi")


def test_an_interrupted_export_ends_with_the_same_bytes(make_store, tmp_path, hash_files):
    root = make_store(IDS)
    export(root, tmp_path / "whole", "webdataset", shard_bytes=20_000)
    whole = hash_files(tmp_path / "whole")
    out = tmp_path / "out"

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(root, out, "webdataset", shard_bytes=20_000, progress=stop)
    assert not list(out.glob(".part-*"))
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert finished
    # what a kill leaves: a half-written shard, and one that was renamed but not recorded
    (out / ".part-dead").write_bytes(b"half")
    (out / "train-000077.tar").write_bytes(b"whole, but not recorded")
    report = export(root, out, "webdataset", shard_bytes=20_000)
    assert report.skipped >= 3 and report.written + report.skipped == len(IDS)
    assert hash_files(out) == whole
    for name, stamp in finished.items():
        assert (out / name).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("format", ["webdataset", "huggingface"])
def test_after_a_kill_at_any_moment_nothing_half_written_counts(
    make_store, tmp_path, monkeypatch, stores, format, hash_files
):
    root, out = make_store(("a", "b", "c"), frames=3, width=16, height=16), tmp_path / "out"
    suffix = {"webdataset": "*.tar", "huggingface": "*.parquet"}[format]
    out.mkdir()

    def work():
        export(root, out, format, shard_bytes=1)

    copies = list(stores.snapshots(monkeypatch, out, tmp_path / "copies", work))
    whole = hash_files(out)
    assert len(copies) > 20
    for copy in copies:
        # shards with their final name are complete, and the lists come after all of them
        for path in copy.rglob(suffix):
            name = path.relative_to(copy).as_posix()
            assert hashlib.sha256(path.read_bytes()).hexdigest() == whole[name]
        if (copy / "videos.csv").exists():
            assert whole.keys() - hash_files(copy).keys() <= {"README.md", *LISTS}
        export(root, copy, format, shard_bytes=1)
        left = hash_files(copy)
        for found in (left, whole):
            found.pop("README.md", None)  # the name of the folder is in it
        assert left == whole, copy


def test_a_missing_or_truncated_shard_is_written_again(make_store, tmp_path, hash_files):
    root, out = make_store(IDS), tmp_path / "out"
    export(root, out, "webdataset", shard_bytes=20_000)
    whole = hash_files(out)
    first, second = sorted(out.glob("*.tar"))[:2]
    first.unlink()
    os.truncate(second, 512)
    assert 2 <= export(root, out, "webdataset", shard_bytes=20_000).written < len(IDS)
    assert hash_files(out) == whole
    assert export(root, out, "webdataset", shard_bytes=20_000).written == 0


@pytest.mark.parametrize("format", ["webdataset", "huggingface"])
def test_shards_whose_records_were_deleted_are_kept(make_store, tmp_path, hash_files, format):
    root, out = make_store(IDS), tmp_path / "out"
    export(root, out, format)
    shutil.rmtree(out / ".export")
    before = hash_files(out)
    with pytest.raises(UsageError, match=r"it holds 2 shards \(first: test-000000\..*was deleted"):
        export(root, out, format, ["a"])
    assert hash_files(out) == before


def test_features_of_the_store_change_nothing(stores, make_root, tmp_path, hash_files):
    root = make_root({"a": [(encode_rgb(np.zeros((8, 8, 3), np.uint8), 90), None, None)]})
    rebuild_index(root)
    export(root, tmp_path / "out", "webdataset")
    before = hash_files(tmp_path / "out")
    stores.fill_features(root, {"a": stores.draw_features(1, 2)})
    rebuild_index(root)
    report = export(root, tmp_path / "out", "webdataset")
    assert (report.written, report.skipped, report.left_out) == (0, 1, ("features/net",))
    assert hash_files(tmp_path / "out") == before


def test_new_videos_get_new_shards(make_store, tmp_path, read_videos, hash_files):
    root, out = make_store(IDS), tmp_path / "out"
    export(root, out, "webdataset", ids=["a", ".."])
    before = hash_files(out)
    report = export(root, out, "webdataset")
    assert (report.written, report.skipped) == (len(IDS) - 2, 2)
    after = hash_files(out)
    assert all(after[name] == before[name] for name in before if name.endswith(".tar"))
    assert sorted(read_videos(out)) == sorted(IDS)


def test_subsets_one_after_another(make_store, tmp_path, annotate):
    root, out = make_store(("a", "b", "c")), tmp_path / "out"
    subsets = {"a": ["train1", "test2"], "b": ["train1"], "c": ["val"]}
    annotate(root, {id: ([], names) for id, names in subsets.items()})
    export(root, out, "webdataset", ["c"], subsets=["val"])
    export(root, out, "webdataset", ["a", "b"], subsets=["train1"])
    assert [path.name for path in sorted(out.glob("*.tar"))] == [
        "train1-000000.tar", "val-000000.tar",
    ]  # fmt: skip
    assert export(root, out, "webdataset", ["b", "c"]).skipped == 2
    with pytest.raises(UsageError, match=r"1 videos \(first: 'a'\) are in several subsets"):
        export(root, out, "webdataset", ["a"], subsets=["test2"])
    with pytest.raises(UsageError, match="name all subsets at once"):
        export(root, out, "webdataset")


def test_changed_labels_need_a_new_folder(make_store, tmp_path, annotate, hash_files):
    root, out = make_store(IDS), tmp_path / "out"
    classes = ("wave", "jump high")
    annotate(root, {id: ([("wave",)], ["train"]) for id in IDS}, classes)
    export(root, out, "webdataset")
    before = hash_files(out)
    annotate(root, {id: ([("wave",)], ["train" if id != "a" else "test"]) for id in IDS}, classes)
    with pytest.raises(UsageError, match=r"1 videos \(first: 'a'\) are no longer .* other labels"):
        export(root, out, "webdataset")
    assert hash_files(out) == before


def test_a_video_without_a_frame_rate_is_listed(make_store, tmp_path):
    report = export(make_store(("a",), fps=0.0), tmp_path / "out", "webdataset")
    assert report.failures == {"a": "video 'a' has no frame rate; extract it again"}


@pytest.mark.parametrize("format", ["webdataset", "huggingface"])
def test_a_full_disk_leaves_no_half_shard(make_store, tmp_path, format, hash_files):
    root, out = make_store(("a", "b", "c"), frames=9, width=160, height=120), tmp_path / "out"
    suffix = {"webdataset": "*.tar", "huggingface": "data/*.parquet"}[format]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.raises(DiskFullError, match="run the same command again"):
            export(root, out, format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(out.glob(suffix)) and not list(out.glob(".part-*"))
    assert export(root, out, format).written == 3
    export(root, tmp_path / "whole", format)
    left, whole = hash_files(out), hash_files(tmp_path / "whole")
    left.pop("README.md", None), whole.pop("README.md", None)  # the name of the folder is in it
    assert left == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": 10.0}, "--bound means nothing to webdataset: it copies the JPEG images"),
        ({"quality": 90}, "--quality means nothing to webdataset"),
    ],
)
def test_options_of_other_formats_are_refused(make_store, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export(make_store(), tmp_path / "out", "webdataset", **options)
    assert not (tmp_path / "out").exists()


def test_shards_that_end_early_are_dropped(make_store, tmp_path, monkeypatch):
    """A worker that is told to stop leaves neither its shard nor a temporary file."""
    root = make_store(IDS)
    add = sharded_format.ShardedFormat._add_video

    def fail(self, writer, video):
        if video.id == "a":
            raise RuntimeError("killed")
        return add(self, writer, video)

    monkeypatch.setattr(sharded_format.ShardedFormat, "_add_video", fail)
    with pytest.raises(RuntimeError, match="killed"):
        export(root, tmp_path / "out", "webdataset", shard_bytes=20_000, workers=2)
    monkeypatch.undo()
    assert not list((tmp_path / "out").glob(".part-*"))
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert export(root, tmp_path / "copy", "webdataset", shard_bytes=20_000).failures == {}
