import errno
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.errors import DiskFullError, StoreError
from flowkit.store import (
    ShardWriter,
    Store,
    create_or_open,
    is_locked,
    read_header,
    rebuild_index,
    recover,
)
from flowkit.store import writer as writer_module
from flowkit.store.format.records import read_record, record_paths

IDS = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() or text.isascii())
FIXED = ("../up", "a/b", "/", " ", "..", "#;!&", "🎈", "\u0301", "x\0y", "\u202eabc", "\n")
IMAGE = st.binary(max_size=40)


def normal(text: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", text)


VIDEOS = st.lists(
    st.tuples(
        st.one_of(IDS, st.sampled_from(FIXED)),
        st.lists(st.tuples(IMAGE, IMAGE, IMAGE), min_size=1, max_size=6),
    ),
    max_size=6,
    unique_by=lambda video: normal(video[0]),
)


@settings(max_examples=60, deadline=None)
@given(videos=VIDEOS, roll=st.integers(1, 4000), rows=st.integers(1, 4))
def test_what_goes_in_comes_out(stores, videos, roll, rows):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "BATCH_ROWS", rows)
        root = Path(folder) / "store"
        wanted = {id: [*images[:-1], (images[-1][0], None, None)] for id, images in videos}
        create_or_open(root, stores.RECIPE)
        writer = ShardWriter(root, recipe=stores.RECIPE, roll_bytes=roll)
        records = [stores.put(writer, id, images) for id, images in wanted.items()]
        records.append(writer.close())
        assert stores.contents(root) == wanted
        assert list(Store(root)) == sorted(wanted, key=str.encode)
        written = {record.uuid: record for record in records if record}
        assert written == {path.stem: read_record(path) for path in record_paths(root)}
        for record in written.values():
            data = (root / f"{record.name}.arrow").read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (record.bytes, record.sha256)


@pytest.mark.parametrize("rows", [1, 2, 1023, 1024, 1025, 2048, 3000])
def test_long_videos(stores, make_root, rows):
    wanted = {"a": stores.draw_rows(1, 3, 9), "b": stores.draw_rows(2, rows, 9)}
    root = make_root(wanted)
    assert stores.contents(root) == wanted
    (record,) = map(read_record, record_paths(root))
    assert record.videos[1].batches == -(-rows // 1024)


def test_batches_are_bounded_in_bytes(stores, make_root, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1000)
    wanted = {"a": stores.draw_rows(1, 100)}
    root = make_root(wanted)
    assert stores.contents(root) == wanted
    (record,) = map(read_record, record_paths(root))
    assert record.videos[0].batches > 5


def test_anyone_with_arrow_can_read_a_shard(stores, make_root):
    rows = stores.draw_rows(1, 5)
    root = make_root({"a": rows})
    (path,) = (root / "frames").glob("*.arrow")
    with path.open("rb") as file:
        reader = pa.ipc.open_file(file)
        batch = reader.get_batch(0)
        batch.validate(full=True)
        assert [tuple(row.values()) for row in batch.to_pylist()] == [(*row, None) for row in rows]
        metadata = reader.schema.metadata
    assert metadata[b"flowkit.uuid"].decode() == path.stem
    assert metadata[b"flowkit.run"] == b"0/1"
    assert {b"flowkit.format", b"flowkit.folder", b"flowkit.recipe"} < metadata.keys()


def test_overhead_at_256_by_256(stores, make_root):
    """At most 0.5 % over the JPEG bytes, records included."""
    rows = [(bytes(12000), bytes(2500), bytes(2500)) for _ in range(250)]
    root = make_root({f"v{k}": rows for k in range(4)})
    images = 4 * 250 * 17000
    size = sum(path.stat().st_size for path in (root / "frames").iterdir())
    assert images < size < 1.005 * images
    flow_only = make_root({f"v{k}": [(None, x, y) for _, x, y in rows] for k in range(4)})
    size = sum(path.stat().st_size for path in (flow_only / "frames").iterdir())
    # Small images: times are 0.0016 of them, and checksums of images 0.0021.
    assert size < 1.0105 * 4 * 250 * 5000


def test_small_streams_share_batches(stores, tmp_path, monkeypatch):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, "audio", recipe=stores.RECIPE)
    for k in range(5):
        stores.put_audio(writer, f"v{k}", k, 10 * k)
    record = writer.close()
    assert [(v.batch, v.first_row, v.rows) for v in record.videos] == [
        (0, 0, 0), (0, 0, 1), (0, 1, 2), (0, 3, 3), (0, 6, 4)
    ]  # fmt: skip
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 3 * 96 * 64 * 4)
    for k in range(5, 9):
        stores.put_audio(writer, f"v{k}", k, 10 * k)
    assert max(video.batches for video in writer.close().videos) > 2
    rebuild_index(tmp_path)
    store = Store(tmp_path)
    for k in range(9):
        assert store[f"v{k}"].audio()[:, 5, 7].tolist() == [10 * k + j for j in range(k)]
        assert store[f"v{k}"].audio().shape == (k, 96, 64)
        assert (store[f"v{k}"].num_frames, store[f"v{k}"].streams) == (0, ("audio",))


def test_shards_roll_by_size_and_by_age_between_videos(stores, tmp_path, monkeypatch):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE, roll_bytes=5000, roll_seconds=50)
    rows = stores.draw_rows(1, 10, 60)
    assert stores.put(writer, "a", rows) is None
    records = [stores.put(writer, f"b{k}", rows) for k in range(3)]
    assert [record is not None for record in records] == [True, False, True]
    writer.close()
    now = time.monotonic()
    assert stores.put(writer, "c", rows) is None
    monkeypatch.setattr(time, "monotonic", lambda: now + 51)
    assert [video.id for video in stores.put(writer, "d", rows).videos] == ["c", "d"]
    assert writer.close() is None


def test_abandoned_videos_leave_no_trace_but_rows(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_ROWS", 4)
    create_or_open(tmp_path, stores.RECIPE)
    rows = stores.draw_rows(1, 10)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    for id in ("a", "b"):
        writer.begin(id)
        for rgb, x, y in rows[:9]:
            writer.append(rgb=rgb, flow_x=x, flow_y=y)
        writer.abandon()
    stores.put(writer, "b", rows)
    record = writer.close()
    assert (record.rows, [video.rows for video in record.videos]) == (8 + 8 + 10, [10])
    assert stores.contents(tmp_path) == {"b": rows}


def test_the_bytes_of_an_abandoned_video_do_not_count(stores, tmp_path, monkeypatch):
    """With them the next batch would be full before its first row."""
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1000)
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    writer.begin("a")
    writer.append(rgb=bytes(2000))
    writer.abandon()
    rows = stores.draw_rows(1, 2)
    stores.put(writer, "b", rows)
    assert writer.close().rows == 2
    (path,) = (tmp_path / "frames").glob("*.arrow")
    with pa.memory_map(str(path)) as file:
        batches = pa.ipc.open_file(file)
        sizes = [batches.get_batch(k).num_rows for k in range(batches.num_record_batches)]
    assert sizes == [2]
    assert stores.contents(tmp_path) == {"b": rows}


def test_no_empty_shard_is_left(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_ROWS", 2)
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    assert writer.commit() is writer.close() is None
    writer.begin("a")
    for _ in range(5):
        writer.append(rgb=b"x")
    assert list((tmp_path / "frames").iterdir())
    assert writer.close() is None
    assert not list((tmp_path / "frames").iterdir())


def test_misuse_is_refused(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    with pytest.raises(StoreError, match="no video is open"):
        writer.append(rgb=b"")
    writer.begin("a")
    with pytest.raises(StoreError, match="still open"):
        writer.begin("b")
    with pytest.raises(StoreError, match="still open"):
        writer.commit()
    with pytest.raises(StoreError, match="columns"):
        writer.append(grey=b"")
    with pytest.raises(StoreError, match="no frames"):
        writer.end(stores.meta("a", 0))
    writer.append(rgb=b"x")
    with pytest.raises(StoreError, match="with 1 rows"):
        writer.end(stores.meta("a", 2))
    with pytest.raises(StoreError, match="streams"):
        writer.end(stores.meta("a", 1, ("audio",)))
    audio = ShardWriter(tmp_path, "audio", recipe=stores.RECIPE)
    audio.begin("a")
    with pytest.raises(StoreError, match="6144"):
        audio.append(patch=np.zeros((96, 63)))
    with pytest.raises(StoreError, match="writer of features, got one of audio"):
        audio.append_rows(np.zeros((1, 6144)), [0], [0])


def test_the_part_is_locked_from_its_first_byte_to_its_record(stores, tmp_path, monkeypatch):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    frames = tmp_path / "frames"
    seen = []

    def watch(owner, name):
        function = getattr(owner, name)

        def call(*arguments):
            seen.extend(
                is_locked(path)
                for path in frames.iterdir()
                if path.name.endswith((".arrow.part", ".arrow"))
            )
            return function(*arguments)

        monkeypatch.setattr(owner, name, call)

    watch(os, "write")
    watch(os, "fsync")
    watch(Path, "replace")
    stores.put(writer, "a", stores.draw_rows(1, 3))
    writer.close()
    assert len(seen) > 10
    assert all(seen)
    assert not any(is_locked(path) for path in frames.iterdir())


def fail_at(monkeypatch, step, code):
    """Let the disk be full from the ``step``-th write or fsync on; counts them."""
    count = [0]

    def watch(function):
        def call(*arguments):
            count[0] += 1
            if count[0] > step:
                raise OSError(code, os.strerror(code))
            return function(*arguments)

        return call

    monkeypatch.setattr(os, "write", watch(os.write))
    monkeypatch.setattr(os, "fsync", watch(os.fsync))
    return count


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_at_any_step(stores, tmp_path, code):
    wanted = {f"v{k}": stores.draw_rows(k, 4) for k in range(3)}
    step = 0
    while True:
        root = tmp_path / str(step)
        create_or_open(root, stores.RECIPE)
        writer = ShardWriter(root, recipe=stores.RECIPE)
        done: dict = {}
        with pytest.MonkeyPatch.context() as patch:
            count = fail_at(patch, step, code)
            try:
                for id, rows in wanted.items():
                    stores.put(writer, id, rows)
                    done[id] = rows
                writer.close()
            except DiskFullError as error:
                message = str(error)
            else:
                break
            assert writer.close() is None
        assert "MB needed" in message
        assert count[0] > step
        assert not any(is_locked(path) for path in (root / "frames").iterdir())
        counted = stores.contents(root)
        assert counted.items() <= wanted.items()
        recover(root, wait_seconds=0)
        saved = stores.contents(root)
        assert done.items() <= saved.items() <= wanted.items()
        for id in wanted.keys() - saved.keys():
            stores.put(writer, id, wanted[id])
        writer.close()
        assert stores.contents(root) == wanted
        step += 1
    assert step > 30


def test_other_disk_errors_are_not_called_a_full_disk(stores, tmp_path, monkeypatch):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    fail_at(monkeypatch, 3, errno.EIO)
    with pytest.raises(StoreError, match="check the disk") as caught:
        stores.put(writer, "a", stores.draw_rows(1, 3))
    assert not isinstance(caught.value, DiskFullError)


LIMITED = """
import resource, sys
from flowkit.errors import DiskFullError
from flowkit.store import Fingerprint, ShardWriter, VideoMeta, read_header
root, limit = sys.argv[1], int(sys.argv[2])
writer = ShardWriter(root, recipe=read_header(root).recipe)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
done = []
try:
    for k in range(20):
        writer.begin(f"v{k}")
        for t in range(10):
            writer.append(rgb=bytes([k]) * 1000, flow_x=b"x", flow_y=b"y")
        mark = Fingerprint(1, 2, "00" * 16)
        meta = VideoMeta(id=f"v{k}", source="s", fingerprint=mark, streams=("rgb",), frames=10,
                         fps=25.0, width=1, height=1)
        writer.end(meta)
        done.append(f"v{k}")
    writer.close()
except DiskFullError as error:
    print(*done)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("limit", [100, 55_555, 150_001])
def test_a_real_limit(stores, tmp_path, limit):
    create_or_open(tmp_path, stores.RECIPE)
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(limit)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 3, found.stderr
    assert stores.contents(tmp_path) == {}
    recover(tmp_path, wait_seconds=0)
    rebuild_index(tmp_path)
    assert sorted(Store(tmp_path)) == sorted(found.stdout.split())
    assert read_header(tmp_path).recipe == stores.RECIPE


def test_recovery_may_take_the_name_before_the_lock(stores, tmp_path, monkeypatch):
    """A .part that is removed between its birth and its lock is not written to."""
    from flowkit.store.format import shard_file

    create_or_open(tmp_path, stores.RECIPE)
    real, taken = shard_file.lock, []

    def lock(descriptor, operation):
        if not taken:
            (part,) = (tmp_path / "frames").iterdir()
            part.unlink()
            taken.append(part)
        return real(descriptor, operation)

    monkeypatch.setattr(shard_file, "lock", lock)
    rows = stores.draw_rows(1, 3)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    stores.put(writer, "a", rows)
    writer.close()
    assert stores.contents(tmp_path) == {"a": rows}
