import json
import random
import re
import threading

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flowkit.annotations import Annotation, AnnotationTable, Label
from flowkit.errors import CorruptError, FormatError, StoreError
from flowkit.store import (
    ShardWriter,
    Store,
    create_or_open,
    read_annotations,
    rebuild_index,
    write_annotations,
)
from flowkit.store import index as index_module
from flowkit.store.format.records import record_paths

TABLE = AnnotationTable(
    ("run", "jump"),
    (
        Annotation("a", (Label("jump", 0.5, 2.0), Label("run")), ("train1", "test2")),
        Annotation("b", (), ("train1",)),
        Annotation("elsewhere", (Label("run"),), ()),
    ),
)


def read_table(root):
    """The whole index, with places as (folder/uuid, batch, first row, rows)."""
    with (root / "index.arrow").open("rb") as file:
        reader = pa.ipc.open_file(file)
        assert reader.num_record_batches == 1
        batch = reader.get_batch(0)
    shards = json.loads(batch.schema.metadata[b"flowkit.shards"])
    rows = batch.to_pylist()
    for row in rows:
        for stream in ("rgb", "flow", "audio"):
            if row.get(stream) is not None:
                row[stream]["shard"] = shards[row[stream]["shard"]]
            else:
                row.pop(stream, None)
    return rows


def commit(stores, root, *videos, streams=("rgb", "flow"), **more):
    writer = ShardWriter(root, recipe=stores.RECIPE)
    for id, rows in videos:
        stores.put(writer, id, rows, streams=streams, **more)
    return writer.close()


def test_the_columns_are_those_of_the_format(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 3)})
    write_annotations(root, TABLE)
    rebuild_index(root)
    with (root / "index.arrow").open("rb") as file:
        schema = pa.ipc.open_file(file).schema
    place = "struct<shard: int32, batch: int32, first_row: int32, rows: int32>"
    assert {field.name: str(field.type) for field in schema} == {
        "id": "large_string",
        "labels": "list<item: struct<class: int32, start: double, end: double>>",
        "subsets": "list<item: string>",
        "mixed_sources": "bool",
        "frames": "int32",
        "fps": "double",
        "width": "int32",
        "height": "int32",
        "source": "large_string",
        "size": "int64",
        "mtime_ns": "int64",
        "digest": "fixed_size_binary[16]",
        "warnings": "int32",
        "duration": "double",
        "motion": "double",
        "motion_p95": "double",
        "rgb": place,
        "flow": place,
    }
    assert json.loads(schema.metadata[b"flowkit.classes"]) == ["run", "jump"]
    assert int(schema.metadata[b"flowkit.version"]) > 0
    assert b"flowkit.dataset" in schema.metadata


def test_incremental_is_scratch_whatever_the_order(stores, make_root):
    """Adding shards one by one, in any order, gives what reading them all at once gives."""
    root = make_root({"start": stores.draw_rows(0, 2)})
    chance = random.Random(0)
    for step in range(25):
        ids = chance.sample("abcdefgh", 2)
        streams = chance.choice([("rgb", "flow"), ("rgb",), ("flow",)])
        rows = [(id, stores.draw_rows(step, 2 + step % 3)) for id in ids]
        commit(stores, root, *rows, streams=streams, supersedes=chance.random() < 0.3)
        if chance.random() < 0.2:
            list(record_paths(root))[chance.randrange(2)].unlink()
        if chance.random() < 0.6:
            rebuild_index(root)
    rebuild_index(root)
    grown = read_table(root)
    rebuild_index(root, scratch=True)
    assert read_table(root) == grown
    assert [row["id"] for row in grown] == sorted(row["id"] for row in grown)


def test_only_new_records_are_read(stores, make_root, monkeypatch):
    root = make_root({"a": stores.draw_rows(1, 3)})
    rebuild_index(root)
    commit(stores, root, ("b", stores.draw_rows(2, 3)))
    read = []
    real = index_module.load_record
    monkeypatch.setattr(index_module, "load_record", lambda path: read.append(path) or real(path))
    rebuild_index(root)
    assert len(read) == 1
    rebuild_index(root, scratch=True)
    assert len(read) == 3


def test_nothing_new_keeps_the_version(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 3)})
    first = rebuild_index(root)
    before = (root / "index.arrow").stat().st_mtime_ns
    assert rebuild_index(root) == first
    assert (root / "index.arrow").stat().st_mtime_ns == before
    write_annotations(root, TABLE)
    second = rebuild_index(root)
    assert second > first
    write_annotations(root, TABLE)
    assert rebuild_index(root) == second
    (root / "index.arrow").unlink()
    assert rebuild_index(root) >= second
    third = rebuild_index(root, scratch=True)
    assert third > second
    (root / "index.arrow").write_bytes(b"garbage")
    assert rebuild_index(root) >= third
    assert Store(root)["a"].labels == TABLE.annotations[0].labels


def test_an_empty_store_has_an_index(stores, make_root):
    root = make_root({})
    rebuild_index(root)
    store = Store(root)
    assert (len(store), list(store), "a" in store, store.subsets()) == (0, [], False, {})
    write_annotations(root, TABLE)
    rebuild_index(root)
    assert Store(root).classes == ("run", "jump")
    write_annotations(root, AnnotationTable(("none yet",), ()))
    rebuild_index(root)
    assert Store(root).classes == ("none yet",)
    commit(stores, root, ("a", stores.draw_rows(1, 3)))
    rebuild_index(root)
    assert Store(root)["a"].num_frames == 3


def test_annotations_are_joined_and_replaced(stores, make_root):
    root = make_root({id: stores.draw_rows(1, 2) for id in ("a", "b", "c")})
    assert read_annotations(root) is None
    write_annotations(root, TABLE)
    assert read_annotations(root) == TABLE
    rebuild_index(root)
    store = Store(root)
    assert [store[id].labels for id in store] == [TABLE.annotations[0].labels, (), ()]
    assert [store[id].subsets for id in store] == [("train1", "test2"), ("train1",), ()]
    assert store.subsets() == {"test2": 1, "train1": 2}
    assert store.subset("train1").tolist() == [0, 1]
    assert store.subset("test2").tolist() == [0]
    other = AnnotationTable(("walk",), (Annotation("c", (Label("walk"),), ("val",)),))
    write_annotations(root, other)
    rebuild_index(root)
    store = Store(root)
    assert [store[id].labels for id in store] == [(), (), (Label("walk"),)]
    assert store.subsets() == {"val": 1}


def test_streams_of_one_video_from_several_shards(stores, make_root):
    root = make_root({})
    audio = ShardWriter(root, "audio", recipe=stores.RECIPE)
    stores.put_audio(audio, "a", 2, 5)
    stores.put_audio(audio, "silent", 0)
    audio.close()
    rebuild_index(root)
    assert Store(root)["a"].streams == ("audio",)
    rows = stores.draw_rows(1, 4)
    commit(stores, root, ("a", [(None, x, y) for _, x, y in rows]), streams=("flow",))
    rebuild_index(root)
    commit(stores, root, ("a", [(rgb, None, None) for rgb, _, _ in rows]), streams=("rgb",))
    rebuild_index(root)
    video = Store(root)["a"]
    assert video.streams == ("rgb", "flow", "audio")
    assert (video.num_frames, video.num_flow, video.fps, video.width) == (4, 3, 25.0, 4)
    assert stores.contents(root)["a"] == rows
    assert video.audio().shape == (2, 96, 64)


@pytest.mark.parametrize("scratch", [False, True])
def test_committed_twice(stores, make_root, scratch):
    """The earliest counts, but a commit that supersedes counts before all others."""
    root = make_root({"a": stores.draw_rows(1, 2), "b": stores.draw_rows(9, 2)})
    wanted = []
    for step, supersedes in enumerate([False, True, False, True], 2):
        rebuild_index(root, scratch=scratch)
        commit(stores, root, ("a", stores.draw_rows(step, 2)), supersedes=supersedes)
        rebuild_index(root, scratch=scratch)
        wanted.append(Store(root)["a"].rgb_bytes(0))
    drawn = [stores.draw_rows(step, 2)[0][0] for step in range(1, 6)]
    assert wanted == [drawn[0], drawn[2], drawn[2], drawn[4]]
    assert Store(root)["b"].rgb_bytes(0) == stores.draw_rows(9, 2)[0][0]


def test_a_record_that_is_gone_takes_its_rows_along(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 2)})
    record = commit(stores, root, ("a", stores.draw_rows(2, 2)), ("b", stores.draw_rows(3, 2)))
    rebuild_index(root)
    assert list(Store(root)) == ["a", "b"]
    first = next(path for path in record_paths(root) if path.stem != record.uuid)
    text = first.read_bytes()
    first.unlink()
    assert stores.contents(root) == {"a": stores.draw_rows(2, 2), "b": stores.draw_rows(3, 2)}
    (root / f"{record.name}.json").unlink()
    first.write_bytes(text)
    assert stores.contents(root) == {"a": stores.draw_rows(1, 2)}


def test_ids_that_differ_only_by_normalization(stores, make_root):
    root = make_root({"caf\u00e9": stores.draw_rows(1, 2)})
    rebuild_index(root)
    commit(stores, root, ("cafe\u0301", stores.draw_rows(1, 2)))
    with pytest.raises(StoreError, match=r"'caf\\xe9' and 'cafe\\u0301', which differ") as raised:
        rebuild_index(root)
    assert list(Store(root)) == ["caf\u00e9"]
    (files,) = re.findall(r"delete (\S+)\.arrow and \.json", str(raised.value))
    for ending in ("arrow", "json"):
        (root / f"{files}.{ending}").unlink()
    assert stores.contents(root) == {"caf\u00e9": stores.draw_rows(1, 2)}


def test_ids_are_sorted_by_their_bytes(stores, make_root):
    ids = ["é", "z", "Z", "\U0001f388", "\uffff", "a", "a/b", "a b", "ab", "a\0"]
    root = make_root({id: stores.draw_rows(1, 1) for id in ids})
    rebuild_index(root)
    store = Store(root)
    assert list(store) == sorted(ids, key=str.encode)
    assert all(store.ids[store.find(id)] == store[id].id == id for id in ids)


def test_broken_and_newer_records(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 2)})
    (path,) = record_paths(root)
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"format": 2}))
    with pytest.raises(FormatError, match="format 1"):
        rebuild_index(root)
    inexact = values["videos"][0] | {"duration": 2**53 + 1}  # an integer that no float64 has
    for videos in ([{"id": "a"}], [inexact]):
        path.write_text(json.dumps(values | {"videos": videos}))
        with pytest.raises(CorruptError, match=path.stem):
            rebuild_index(root)
    for text in ("", "[]", "{"):
        path.write_text(text)
        with pytest.raises(CorruptError, match=path.stem):
            rebuild_index(root)
    path.write_text(json.dumps(values | {"later": 1}))
    assert list(stores.contents(root)) == ["a"]


def test_rebuilt_by_many_at_once_while_one_writes(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 2)})
    errors = []

    def rebuild():
        try:
            for _ in range(8):
                rebuild_index(root)
                assert "a" in Store(root)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=rebuild) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(8):
        commit(stores, root, (f"v{step}", stores.draw_rows(step, 2)))
    for thread in threads:
        thread.join()
    assert not errors
    rebuild_index(root)
    assert len(Store(root)) == 9


def test_the_index_is_not_touched_by_a_full_disk(stores, make_root, monkeypatch):
    import os

    root = make_root({"a": stores.draw_rows(1, 2)})
    rebuild_index(root)
    before = (root / "index.arrow").read_bytes()
    commit(stores, root, ("b", stores.draw_rows(1, 2)))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError):
            rebuild_index(root)
    assert (root / "index.arrow").read_bytes() == before
    assert not list(root.glob("*.part"))


@pytest.mark.slow
def test_many_videos(stores, tmp_path, monkeypatch):
    """250,000 videos: the index holds them all, and each is found."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).resolve().parents[3] / "benchmarks" / "index.py"
    spec = importlib.util.spec_from_file_location("index_benchmark", path)
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(path.parent)  # benchmarks import each other by name
    spec.loader.exec_module(benchmark)
    create_or_open(tmp_path, stores.RECIPE)
    benchmark.write_records(tmp_path, 250_000)
    rebuild_index(tmp_path)
    store = Store(tmp_path)
    assert len(store) == 250_000
    assert pc.is_in(pa.array([benchmark.video_id(7)]), store.index.batch.column("id"))[0].as_py()
    for number in range(0, 250_000, 997):
        assert store[benchmark.video_id(number)].source.endswith(
            f"{benchmark.video_id(number)}.mp4"
        )
        assert f"{benchmark.video_id(number)}x" not in store


@pytest.mark.parametrize("cut", [None, 0, 100])
def test_a_shard_that_is_gone_or_cut_is_refused(stores, make_root, cut):
    root = make_root({"a": stores.draw_rows(1, 3)})
    (shard,) = (root / "frames").glob("*.arrow")
    if cut is None:
        shard.unlink()
    else:
        with shard.open("r+b") as file:
            file.truncate(cut)
    for scratch in (False, True):
        with pytest.raises(CorruptError, match=r"as committed, but .*verify --repair"):
            rebuild_index(root, scratch=scratch)
