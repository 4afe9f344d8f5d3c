import gc
import threading

import numpy as np
import pyarrow as pa
import pytest

from flowkit.errors import CorruptError, FlowkitError, FormatError, StoreError, UsageError
from flowkit.flow.quantization import dequantize
from flowkit.store import Snippet, Store, create_or_open, rebuild_index
from flowkit.store import shard_reader as shard_reader_module
from flowkit.store import writer as writer_module
from flowkit.store.format.jpeg import encode_grey, encode_rgb


@pytest.fixture
def opened(stores, make_root):
    """A store of some videos whose batches hold 4 rows, and their rows."""

    def make(videos, **options):
        root = make_root(videos, **options)
        rebuild_index(root)
        return Store(root)

    return make


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_ROWS", 4)


def test_fields(stores, opened):
    video = opened({"a/ü": stores.draw_rows(1, 5)})["a/ü"]
    assert (video.id, video.num_frames, video.num_flow) == ("a/ü", 5, 4)
    assert (video.fps, video.width, video.height) == (25.0, 4, 3)
    assert (video.streams, video.labels, video.subsets) == (("rgb", "flow"), (), ())
    assert (video.source, video.warnings) == ("a/ü.mp4", 0)
    assert video.fingerprint == stores.meta("a", 1).fingerprint
    assert "a/ü" in repr(video)


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_every_snippet_of_a_video_over_several_batches(stores, opened, small_batches, length):
    rows = stores.draw_rows(1, 14)
    video = opened({"before": stores.draw_rows(2, 5), "a": rows})["a"]
    for t in range(14 - length):
        snippet = video.snippet(t, length)
        assert snippet.rgb == rows[t][0]
        assert snippet.flow_x == tuple(row[1] for row in rows[t : t + length])
        assert snippet.flow_y == tuple(row[2] for row in rows[t : t + length])
        assert snippet.bound == 20.0
    for t in (-1, 14 - length, 14):
        with pytest.raises(UsageError, match=r"0 ≤ t < 1[34]"):
            video.snippet(t, length)


def test_what_is_not_there_is_a_usage_error(stores, opened):
    store = opened({"abc": [(b"x", None, None)] * 3, "abd": stores.draw_rows(1, 2)})
    for call in (
        lambda: store["abc"].rgb_bytes(3),
        lambda: store["abc"].rgb_bytes(-1),
        lambda: store["abd"].flow_bytes(1),
        lambda: store["abd"].snippet(0, 0),
        lambda: store["abd"].audio(),
        lambda: store[2],
        lambda: store[-3],
        lambda: store.subset("train"),
    ):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(UsageError, match="did you mean 'abd'"):
        store["abdx"]
    with pytest.raises(UsageError):
        store["a\udcff"]
    assert "a\udcff" not in store
    assert 3 not in store


def test_a_sequence_of_videos(stores, opened):
    ids = [f"v{k:03d}" for k in range(40)]
    store = opened({id: stores.draw_rows(k, 2) for k, id in enumerate(ids)})
    assert len(store) == len(store.ids) == 40
    assert list(store) == list(store.ids) == ids
    assert store.ids[3:5] == ids[3:5]
    assert store.ids[-1] == ids[-1] == store[-1].id == store[np.int64(39)].id
    assert [store.find(id) for id in ids] == list(range(40))
    assert store.find("v") is store.find("w") is store.find("v0005") is None
    with pytest.raises(IndexError):
        store.ids[40]


def test_images_are_decoded(stores, opened):
    rng = np.random.default_rng(0)
    frames = [np.full((24, 40, 3), rng.integers(256, size=3), np.uint8) for _ in range(4)]
    planes = [np.full((24, 40), value, np.uint8) for value in (128, 200, 1)]
    rows = [
        (encode_rgb(frame, 95, "4:4:4"), encode_grey(plane, 95), encode_grey(~plane + 1, 95))
        for frame, plane in zip(frames, planes, strict=False)
    ]
    video = opened({"a": [*rows, (encode_rgb(frames[3], 95, "4:4:4"), None, None)]})["a"]
    for t, frame in enumerate(frames):
        assert video.rgb(t).shape == frame.shape
        assert np.abs(video.rgb(t).astype(int) - frame).max() <= 3
    stack = video.frames()
    assert stack.shape == (4, 24, 40, 3)
    for start, stop, step in ((1, 3, 1), (0, None, 2), (None, None, -1), (3, 99, 1)):
        assert np.array_equal(video.frames(start, stop, step), stack[start:stop:step])
    assert len(video.frames(2, 2)) == 0
    flow = video.flow(0)
    assert flow.shape == (24, 40, 2)
    assert flow.dtype == np.float32
    assert not flow[..., 0].any()  # zero motion stays zero through JPEG
    rgb, flows = video.snippet(0, 3).decode()
    assert np.array_equal(rgb, video.rgb(0))
    assert np.array_equal(flows, np.stack([video.flow(t) for t in range(3)]))
    grey = np.full((24, 40, 2), (200, 56), np.uint8)
    assert np.abs(flows[1] - dequantize(grey, 20.0)).max() < 0.5


def test_bytes_that_are_no_image(stores, opened):
    video = opened({"a": stores.draw_rows(1, 3)})["a"]
    with pytest.raises(CorruptError, match="JPEG"):
        video.rgb(0)
    with pytest.raises(CorruptError, match="JPEG"):
        Snippet(b"", (b"",), (b"",), 20.0).decode()


def test_no_store_no_index_broken_index(stores, make_root, tmp_path):
    with pytest.raises(FormatError):
        Store(tmp_path / "none")
    root = tmp_path / "new"
    create_or_open(root, stores.RECIPE)
    with pytest.raises(StoreError, match="flowkit index"):
        Store(root)
    root = make_root({"a": stores.draw_rows(1, 3)})
    rebuild_index(root)
    data = (root / "index.arrow").read_bytes()
    for broken in (b"", b"x" * 100, data[: len(data) // 2], data[:-8]):
        (root / "index.arrow").write_bytes(broken)
        with pytest.raises(CorruptError, match="scratch"):
            Store(root)
    empty = pa.table({"id": pa.array([], pa.large_string())})
    with pa.ipc.new_file(root / "index.arrow", empty.schema) as writer:
        writer.write_table(empty)
    with pytest.raises(CorruptError, match="scratch"):
        Store(root)


def test_a_missing_or_broken_shard_is_named(stores, opened):
    store = opened({"a": stores.draw_rows(1, 3)})
    (path,) = (store.path / "frames").glob("*.arrow")
    data = path.read_bytes()
    for broken in (None, b"", data[: len(data) // 2], data[:-20] + data[-10:]):
        path.unlink() if broken is None else path.write_bytes(broken)
        with pytest.raises(CorruptError, match=path.stem) as caught:
            Store(store.path)["a"].rgb_bytes(0)
        assert "verify" in str(caught.value)


def test_flipped_bytes_give_other_bytes_or_an_error_but_no_crash(stores, opened):
    rows = stores.draw_rows(1, 6)
    store = opened({"a": rows})
    (path,) = (store.path / "frames").glob("*.arrow")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 300):
        bad = bytearray(data)
        bad[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        video = Store(store.path)["a"]
        for t in range(5):
            try:
                snippet = video.snippet(t, 1)
            except FlowkitError:
                continue
            assert all(isinstance(part, bytes) for part in (snippet.rgb, *snippet.flow_x))


def test_an_open_store_survives_a_rebuild_and_a_new_one_sees_it(stores, opened, make_root):
    rows = {"b": stores.draw_rows(1, 5)}
    store = opened(rows)
    writer = writer_module.ShardWriter(store.path, recipe=stores.RECIPE)
    stores.put(writer, "a", stores.draw_rows(2, 5))
    writer.close()
    rebuild_index(store.path)
    assert list(store) == ["b"]
    assert store[0].rgb_bytes(3) == rows["b"][3][0]
    new = Store(store.path)
    assert list(new) == ["a", "b"]
    assert new.version > store.version
    assert new["b"].rgb_bytes(3) == rows["b"][3][0]


def test_reading_while_another_writes(stores, opened):
    wanted = {f"v{k}": stores.draw_rows(k, 6) for k in range(20)}
    first = dict(list(wanted.items())[:3])
    store = opened(first)
    stop, errors = threading.Event(), []

    def read():
        chance = np.random.default_rng()
        try:
            while not stop.is_set():
                current = Store(store.path)
                for id in chance.choice(list(current), 5):
                    t = int(chance.integers(5))
                    assert current[id].rgb_bytes(t) == wanted[id][t][0]
                    assert store["v1"].snippet(1, 3).flow_x[2] == wanted["v1"][3][1]
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    writer = writer_module.ShardWriter(store.path, recipe=stores.RECIPE)
    for id, rows in list(wanted.items())[3:]:
        stores.put(writer, id, rows)
        writer.commit()
        rebuild_index(store.path)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors


def test_few_descriptors_are_open_and_none_is_left(stores, opened, monkeypatch):
    monkeypatch.setattr(shard_reader_module, "OPEN_SHARDS", 4)
    monkeypatch.setattr(shard_reader_module, "OFFSETS", 3)
    videos = {f"v{k}": stores.draw_rows(k, 3) for k in range(12)}
    store = opened(videos, roll_bytes=1)
    root = store.path
    before = stores.open_files(root)
    for _ in range(2):
        for id, rows in videos.items():
            assert store[id].rgb_bytes(1) == rows[1][0]
        assert stores.open_files(root) - before == 4
    del store
    gc.collect()
    assert stores.open_files(root) == 0


def test_threads_share_a_store_under_eviction(stores, opened, monkeypatch):
    monkeypatch.setattr(shard_reader_module, "OPEN_SHARDS", 2)
    monkeypatch.setattr(shard_reader_module, "BATCHES", 2)
    monkeypatch.setattr(shard_reader_module, "OFFSETS", 2)
    videos = {f"v{k}": stores.draw_rows(k, 6) for k in range(10)}
    store = opened(videos, roll_bytes=1)
    errors = []

    def read(seed):
        chance = np.random.default_rng(seed)
        try:
            for _ in range(300):
                id, t = f"v{chance.integers(10)}", int(chance.integers(3))
                assert store[id].snippet(t, 2).flow_y == (videos[id][t][2], videos[id][t + 1][2])
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_search_finds_every_id_among_many(stores, make_root, tmp_path):
    """More ids than samples, so that the second part of the search counts."""
    from flowkit.store import index_view

    root = make_root({f"{k * k % 997:04d}ü": [(b"x", None, None)] for k in range(400)})
    rebuild_index(root)
    for samples in (1, 2, 7, 399, 400, 401, 4096):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(index_view, "SAMPLES", samples)
            store = Store(root)
            for row, id in enumerate(store.ids):
                assert store.find(id) == row
                assert store.find(id + "x") is store.find(id[:-1]) is None
            assert store.find("") is store.find("zzz") is store.find("\U0010ffff") is None


def test_many_ids_are_found_at_once(stores, make_root):
    root = make_root({f"{k * k % 997:04d}ü": [(b"x", None, None)] for k in range(40)})
    rebuild_index(root)
    store = Store(root)
    ids = ["zzz", *reversed(store.ids), "", "a\udcff", store.ids[3]]
    assert store.index.find_rows(ids).tolist() == [-1, *reversed(range(40)), -1, -1, 3]
    assert store.index.find_rows([]).tolist() == []
