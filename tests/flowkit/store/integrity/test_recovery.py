import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from flowkit.errors import DiskFullError, FormatError, StoreError
from flowkit.store import (
    Recovery,
    ShardWriter,
    Store,
    create_or_open,
    hold_store,
    rebuild_index,
    recover,
)
from flowkit.store import writer as writer_module
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.integrity import recovery
from flowkit.store.integrity.salvage import salvage


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_ROWS", 2)


def abandon_part(stores, root, videos, torn=(), folder="frames", **options):
    """A .part as a killed writer leaves it: ``videos`` complete, and rows of one that is not."""
    create_or_open(root, stores.RECIPE)
    writer = ShardWriter(root, folder, recipe=stores.RECIPE, **options)
    for id, rows in videos.items():
        stores.put(writer, id, rows)
    if torn:
        writer.begin("torn")
        for rgb, x, y in torn:
            writer.append(rgb=rgb, flow_x=x, flow_y=y)
    writer._shard.file.close()
    (part,) = (root / folder).glob("*.arrow.part")
    return part


def tidy(root: Path) -> bool:
    """Whether every shard has its record, and nothing else lies beside them."""
    names = {path.name for path in (root / "frames").iterdir()}
    return names == {
        f"{name.partition('.')[0]}.{end}" for name in names for end in ("arrow", "json")
    }


def test_nothing_to_do(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 3)})
    before = stores.tree(root)
    assert recover(root) == Recovery()
    assert stores.tree(root) == before
    with pytest.raises(FormatError):
        recover(root / "frames")


def test_a_killed_writer_at_any_step(stores, tmp_path, monkeypatch, small_batches):
    wanted = {"a": stores.draw_rows(1, 3), "b": stores.draw_rows(2, 1), "c": stores.draw_rows(3, 5)}
    root = tmp_path / "store"
    create_or_open(root, stores.RECIPE)
    counts = []

    def work():
        writer = ShardWriter(root, recipe=stores.RECIPE)
        for id, rows in wanted.items():
            stores.put(writer, id, rows)
        writer.close()

    for state in stores.snapshots(monkeypatch, root, tmp_path / "states", work):
        counted = stores.contents(state)
        first = recover(state, wait_seconds=0)
        assert tidy(state)
        saved = stores.contents(state)
        assert list(saved) == list(wanted)[: len(saved)]
        assert counted.items() <= saved.items() <= wanted.items()
        assert set(first.salvaged) == saved.keys() - counted.keys()
        before = stores.tree(state)
        assert recover(state, wait_seconds=0) == Recovery()
        assert stores.tree(state) == before
        counts.append(len(saved))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}


def test_a_killed_recovery_at_any_step(stores, tmp_path, monkeypatch, small_batches):
    wanted = {"a": stores.draw_rows(1, 3), "b": stores.draw_rows(2, 5)}
    root = tmp_path / "store"
    part = abandon_part(stores, root, wanted, stores.draw_rows(3, 9))
    uuid = part.name.split(".")[0]
    states = list(
        stores.snapshots(
            monkeypatch, root, tmp_path / "states", lambda: recover(root, wait_seconds=0)
        )
    )
    assert len(states) > 20
    for state in states:
        recover(state, wait_seconds=0)
        assert tidy(state)
        assert [path.stem for path in record_paths(state)] == [uuid]
        assert stores.contents(state) == wanted
        assert recover(state, wait_seconds=0) == Recovery()


def test_a_part_cut_anywhere(stores, tmp_path, small_batches):
    wanted = {"a": stores.draw_rows(1, 3, 9), "b": stores.draw_rows(2, 4, 9)}
    part = abandon_part(stores, tmp_path / "whole", wanted)
    data = part.read_bytes()
    most = 0
    for length in range(0, len(data) + 1, 37):
        root = tmp_path / str(length)
        create_or_open(root, stores.RECIPE)
        (root / "frames" / part.name).write_bytes(data[:length] + b"\xff\x00garbage" * (length % 2))
        recover(root, wait_seconds=0)
        saved = stores.contents(root)
        assert saved.items() <= wanted.items()
        assert len(saved) >= most
        most = len(saved)
        assert tidy(root)
    assert most == 1 or length < len(data)


def test_a_damaged_part_gives_only_sound_videos(stores, tmp_path):
    wanted = {id: stores.draw_rows(k, 3) for k, id in enumerate("abc")}
    part = abandon_part(stores, tmp_path / "whole", wanted)
    data = bytearray(part.read_bytes())
    rng = np.random.default_rng(0)
    counts = set()
    for number, position in enumerate(rng.integers(0, len(data), 150)):
        root = tmp_path / str(number)
        create_or_open(root, stores.RECIPE)
        bad = data.copy()
        bad[position] ^= 1 << int(rng.integers(8))
        (root / "frames" / part.name).write_bytes(bad)
        recover(root, wait_seconds=0)
        rebuild_index(root)
        store = Store(root)
        assert stores.contents(root).items() <= wanted.items()
        counts.add(len(store))
    assert counts >= {2, 3}


def test_damage_in_every_batch_of_values_is_noticed(stores, tmp_path):
    wanted = {id: stores.draw_rows(k, 3) for k, id in enumerate("abc")}
    part = abandon_part(stores, tmp_path, wanted)
    data = part.read_bytes()
    for image, x, _ in wanted["b"][:2]:
        for piece in (image, x):
            data = data.replace(piece, bytes(len(piece)))
    part.write_bytes(data)
    lines = []
    found = recover(tmp_path, wait_seconds=0, log=lines.append)
    assert found.salvaged == ("a", "c")
    assert found.dropped_rows == 3
    assert "2 complete videos" in lines[0]
    assert stores.contents(tmp_path).keys() == {"a", "c"}


def test_a_part_whose_header_is_damaged_goes_to_quarantine(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "HEADER_BYTES", 100)
    part = abandon_part(stores, tmp_path, {"a": stores.draw_rows(0, 3)})
    part.write_bytes(b"\xff" * 64 + part.read_bytes()[64:])
    lines = []
    found = recover(tmp_path, wait_seconds=0, log=lines.append)
    assert (found.salvaged, len(found.quarantined)) == ((), 1)
    assert "its header is damaged; it was moved to quarantine" in lines[0]
    assert [path.name for path in (tmp_path / "quarantine").rglob("*.part")] == [part.name]
    assert not part.exists()


def test_small_streams_keep_their_complete_videos(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 4 * 96 * 64 * 4)
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, "audio", recipe=stores.RECIPE)
    stores.put_audio(writer, "a", 6, 10)
    stores.put_audio(writer, "none", 0)
    stores.put_audio(writer, "b", 2, 20)
    writer.begin("late")
    for _ in range(9):
        writer.append(patch=np.zeros((96, 64)))
    writer._shard.file.close()
    found = recover(tmp_path, wait_seconds=0)
    assert found.dropped_rows == 8
    assert set(found.salvaged) == {"a", "none", "b"}
    rebuild_index(tmp_path)
    store = Store(tmp_path)
    assert store["a"].audio()[:, 3, 3].tolist() == [10, 11, 12, 13, 14, 15]
    assert store["b"].audio()[:, 3, 3].tolist() == [20, 21]
    assert store["none"].audio().shape == (0, 96, 64)


def test_a_shard_without_a_record_gets_the_same_one(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 3), "b": stores.draw_rows(2, 4)})
    (path,) = record_paths(root)
    before = read_record(path)
    path.unlink()
    assert stores.contents(root) == {}
    found = recover(root)
    assert found.committed == (before.name,)
    after = read_record(path)
    assert (after.videos, after.sha256, after.rows) == (before.videos, before.sha256, before.rows)


def test_a_corrupt_shard_without_a_record_goes_to_quarantine(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 3)})
    (path,) = record_paths(root)
    path.unlink()
    shard = path.with_suffix(".arrow")
    data = shard.read_bytes()
    shard.write_bytes(data.replace(stores.draw_rows(1, 3)[1][0], bytes(61)))
    lines = []
    found = recover(root, log=lines.append)
    assert found.quarantined == (f"frames/{shard.stem}",)
    assert "column rgb" in lines[0]
    assert "quarantine" in lines[0]
    assert (root / "quarantine/frames" / shard.name).exists()
    assert not list((root / "frames").iterdir())
    assert recover(root) == Recovery()


def test_garbage_is_no_shard(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    frames = tmp_path / "frames"
    (frames / "x.arrow.part").write_bytes(b"ARROW1\0\0" + b"\xff" * 100)
    (frames / "y.arrow.salvage").write_bytes(b"half")
    (frames / "z.json.part").write_bytes(b"{")
    (frames / "notes.txt").write_bytes(b"mine")
    (frames / "e.arrow").write_bytes(b"")
    assert recover(tmp_path).quarantined == ("frames/e",)
    assert [path.name for path in frames.iterdir()] == ["notes.txt"]


def test_a_live_writer_is_waited_for_and_then_left_alone(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    rows = stores.draw_rows(1, 3)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE)
    stores.put(writer, "a", rows)
    (part,) = (tmp_path / "frames").iterdir()
    lines = []
    start = time.monotonic()
    found = recover(tmp_path, wait_seconds=0.3, log=lines.append)
    assert time.monotonic() - start >= 0.3
    assert found == Recovery(waiting=(f"frames/{part.name.split('.')[0]}",))
    assert "still being written" in lines[0]
    thread = threading.Timer(0.2, writer.close)
    thread.start()
    assert recover(tmp_path, wait_seconds=10) == Recovery()
    thread.join()
    assert stores.contents(tmp_path) == {"a": rows}


def test_writers_of_other_parts_are_not_waited_for(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    rows = stores.draw_rows(1, 3)
    writer = ShardWriter(tmp_path, recipe=stores.RECIPE, part=(1, 2))
    stores.put(writer, "a", rows)
    start = time.monotonic()
    found = recover(tmp_path, part=(0, 2), wait_seconds=30)
    assert time.monotonic() - start < 10
    assert len(found.waiting) == 1
    writer._shard.file.close()
    with hold_store(tmp_path, (1, 2)):  # its run is alive, and will see to it
        assert len(recover(tmp_path, part=(0, 2), wait_seconds=0).waiting) == 1
        assert recover(tmp_path, part=(1, 2), wait_seconds=0).salvaged == ("a",)
    assert recover(tmp_path, part=(0, 2)) == Recovery()
    assert stores.contents(tmp_path) == {"a": rows}


def test_the_dead_of_other_parts_are_saved(stores, tmp_path):
    part = abandon_part(stores, tmp_path, {"a": stores.draw_rows(1, 3)}, part=(3, 8))
    assert recover(tmp_path, part=(0, 2)).salvaged == ("a",)
    assert not part.exists()


def test_two_recoveries_at_once(stores, tmp_path):
    wanted = {f"v{k}": stores.draw_rows(k, 4) for k in range(30)}
    for k in range(0, 30, 3):
        some = {id: wanted[id] for id in list(wanted)[k : k + 3]}
        part = abandon_part(stores, tmp_path / str(k), some)
        create_or_open(tmp_path / "store", stores.RECIPE)
        shutil.copy(part, tmp_path / "store/frames")
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(recover(tmp_path / "store"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(id for one in found for id in one.salvaged) == sorted(wanted)
    assert stores.contents(tmp_path / "store") == wanted


def test_a_full_disk_leaves_the_part(stores, tmp_path, monkeypatch):
    wanted = {"a": stores.draw_rows(1, 3)}
    part = abandon_part(stores, tmp_path, wanted)
    before = stores.tree(tmp_path)
    real, left = os.write, [10]

    def write(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(DiskFullError):
            recover(tmp_path)
    assert stores.tree(tmp_path) == before
    assert part.exists()
    recover(tmp_path)
    assert stores.contents(tmp_path) == wanted


def test_salvage_into_another_shard_has_a_new_name(stores, make_root):
    root = make_root({"a": stores.draw_rows(1, 3)})
    (path,) = (root / "frames").glob("*.arrow")
    with path.open("rb") as file:
        record, dropped = salvage(file.fileno(), root, "frames")
    assert dropped == 0
    assert record.uuid != path.stem
    assert record.videos == read_record(path.with_suffix(".json")).videos


KILLED = """
import sys, time
from flowkit.store import Fingerprint, ShardWriter, VideoMeta, read_header
root = sys.argv[1]
writer = ShardWriter(root, recipe=read_header(root).recipe, roll_bytes=200_000)
for k in range(100_000):
    id = f"v{k:05d}"
    writer.begin(id)
    for t in range(4):
        writer.append(rgb=id.encode() * 2000, flow_x=b"x", flow_y=b"y")
    mark = Fingerprint(1, 2, "00" * 16)
    writer.end(VideoMeta(id=id, source="s", fingerprint=mark, streams=("rgb",), frames=4, fps=25.0,
                         width=1, height=1))
    print(id, flush=True)
"""


def test_kill_9(stores, tmp_path):
    """What a writer said was complete is there after it was killed, and whole."""
    create_or_open(tmp_path, stores.RECIPE)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline().strip() for _ in range(37)]
        process.kill()
        said += process.stdout.read().split()
    recover(tmp_path)
    rebuild_index(tmp_path)
    store = Store(tmp_path)
    assert {id for id in said if len(id) == 6} <= set(store)
    assert len(store) <= len(said) + 1
    for id in store:
        assert all(store[id].rgb_bytes(t) == id.encode() * 2000 for t in range(4))


def test_a_video_that_was_committed_meanwhile_is_not_saved_again(stores, tmp_path):
    root = tmp_path / "store"
    videos = {"a": stores.draw_rows(1, 3), "b": stores.draw_rows(2, 2)}
    abandon_part(stores, root, videos)
    with_a = ShardWriter(root, recipe=stores.RECIPE)
    stores.put(with_a, "a", videos["a"])
    with_a.close()
    assert recover(root).salvaged == ("b",)
    ids = [video.id for path in record_paths(root) for video in read_record(path).videos]
    assert sorted(ids) == ["a", "b"]
    assert stores.contents(root).keys() == {"a", "b"}


def test_a_leftover_that_must_not_be_removed(stores, tmp_path, monkeypatch):
    root = tmp_path / "store"
    abandon_part(stores, root, {"a": stores.draw_rows(1, 3)})
    (part,) = root.glob("frames/*.arrow.part")

    def refuse(path, missing_ok=False):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(StoreError, match=f"cannot write .*{part.stem}.*Permission denied"):
            recover(root)
    recover(root)
    assert stores.contents(root).keys() == {"a"}
