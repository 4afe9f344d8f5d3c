"""Features after kills, cuts and flipped bytes: what counted stays, what is bad is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowkit.errors import CorruptError, StoreError
from flowkit.store import Recovery, ShardWriter, Store, create_or_open, rebuild_index, recover
from flowkit.store import writer as writer_module
from flowkit.store.integrity import inspection
from flowkit.store.integrity.verify import verify
from flowkit.store.status import read_status

COUNTS = {"a": 3, "b": 0, "c": 7, "d": 2}


@pytest.fixture
def wanted(stores):
    return {id: stores.draw_features(n, count) for n, (id, count) in enumerate(COUNTS.items())}


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of about four rows, so that a video lies in several, and several in one."""
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 48)


def put_row_by_row(stores, writer, id, vectors):
    writer.begin(id)
    for k, vector in enumerate(vectors):
        writer.append(vector=vector, position=k, view=-k)
    writer.end(stores.meta(id, len(vectors), ("features/net",), fps=0, width=0, height=0))


def same(found, wanted):
    return found.keys() == wanted.keys() and all(
        np.array_equal(found[id], wanted[id]) for id in wanted
    )


def part_of(found, wanted):
    return same(found, {id: vectors for id, vectors in wanted.items() if id in found})


def shards(root):
    return sorted((root / "features/net").glob("*.arrow"))


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def break_store(stores, root, wanted):
    """A shard of ``a`` and ``b``, and one of the others, of which ``c`` has a changed byte."""
    create_or_open(root, stores.RECIPE)
    writer = ShardWriter(root, "features/net", recipe=stores.RECIPE)
    for id, vectors in wanted.items():
        put_row_by_row(stores, writer, id, vectors)
        if id == "b":
            writer.commit()
    writer.close()
    rebuild_index(root)
    (bad,) = (path for path in shards(root) if wanted["c"].tobytes() in path.read_bytes())
    flip(bad, bad.read_bytes().index(wanted["c"].tobytes()) + 5)
    return root


# --- kills ---------------------------------------------------------------------------------------


def test_a_killed_writer_at_any_step(stores, tmp_path, monkeypatch, small_batches, wanted):
    root = tmp_path / "store"
    create_or_open(root, stores.RECIPE)

    def work():
        writer = ShardWriter(root, "features/net", recipe=stores.RECIPE)
        for id, vectors in wanted.items():
            put_row_by_row(stores, writer, id, vectors)
            if id == "b":
                writer.commit()
        writer.close()

    counts = []
    for state in stores.snapshots(monkeypatch, root, tmp_path / "states", work):
        counted = stores.features(state)
        assert verify(state).clean
        first = recover(state, wait_seconds=0)
        saved = stores.features(state)
        assert list(saved) == list(wanted)[: len(saved)]
        assert part_of(saved, wanted) and part_of(counted, saved)
        assert set(first.salvaged) == saved.keys() - counted.keys()
        before = stores.tree(state)
        assert recover(state, wait_seconds=0) == Recovery()
        assert stores.tree(state) == before
        assert verify(state, deep=True).clean
        counts.append(len(saved))
    assert counts == sorted(counts)
    assert set(counts) >= {0, 2, 4}


def test_a_part_cut_anywhere(stores, tmp_path, small_batches, wanted):
    create_or_open(tmp_path / "whole", stores.RECIPE)
    writer = ShardWriter(tmp_path / "whole", "features/net", recipe=stores.RECIPE)
    for id, vectors in wanted.items():
        put_row_by_row(stores, writer, id, vectors)
    writer._shard.file.close()
    (part,) = (tmp_path / "whole/features/net").glob("*.arrow.part")
    data = part.read_bytes()
    most = 0
    for length in range(0, len(data) + 1, 101):
        root = tmp_path / str(length)
        create_or_open(root, stores.RECIPE)
        (root / "features/net" / part.name).write_bytes(data[:length])
        recover(root, wait_seconds=0)
        saved = stores.features(root)
        assert part_of(saved, wanted)
        assert len(saved) >= most
        most = len(saved)
    assert most >= 2


def test_a_killed_repair_at_any_step(stores, tmp_path, monkeypatch, wanted):
    root = break_store(stores, tmp_path / "store", wanted)
    steps = list(
        stores.snapshots(monkeypatch, root, tmp_path / "states", lambda: verify(root, repair=True))
    )
    assert len(steps) > 5
    for state in steps:
        verify(state, repair=True)
        assert verify(state, deep=True).clean
        # c and d share a batch, and so a checksum: both are done again.
        assert same(stores.features(state), {id: wanted[id] for id in "ab"})


# --- corruption ----------------------------------------------------------------------------------


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_byte_is_found_and_repaired(stores, wanted, tmp_path_factory, data):
    root = tmp_path_factory.mktemp("flip") / "store"
    create_or_open(root, stores.RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "BATCH_BYTES", 48)
        writer = ShardWriter(root, "features/net", recipe=stores.RECIPE)
        for id, vectors in wanted.items():
            put_row_by_row(stores, writer, id, vectors)
        writer.close()
    rebuild_index(root)
    (shard,) = shards(root)
    flip(shard, data.draw(st.integers(0, shard.stat().st_size - 1)), data.draw(st.integers(0, 7)))
    report = verify(root)
    assert not report.clean
    assert {problem.shard for problem in report.problems} == {f"features/net/{shard.stem}"}
    named = {problem.video for problem in report.problems} - {None}
    repaired = verify(root, repair=True)
    assert set(repaired.lost_videos) == named
    assert verify(root, deep=True).clean
    after = stores.features(root)
    assert same(after, {id: vectors for id, vectors in wanted.items() if id not in named})
    views = Store(root)["c"].vectors("features/net", "view") if "c" in after else -np.arange(7)
    assert views.tolist() == [-k for k in range(7)]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_a_cut_shard_keeps_its_first_videos(stores, tmp_path, small_batches, wanted, share):
    root = stores.fill_features(tmp_path, wanted)
    rebuild_index(root)
    (shard,) = shards(root)
    shard.write_bytes(shard.read_bytes()[: int(shard.stat().st_size * share)])
    found = verify(root, repair=True)
    assert "bytes, its record says" in found.problems[0].what
    after = stores.features(root)
    assert part_of(after, wanted)
    assert set(found.lost_videos) == wanted.keys() - after.keys()
    assert verify(root, deep=True).clean


def test_frames_are_untouched_by_what_befalls_features(stores, make_root, wanted):
    frames = {id: stores.draw_rows(n, 3) for n, id in enumerate(wanted)}
    root = break_store(stores, make_root(frames), wanted)
    (problem, other) = verify(root).problems
    assert [problem.video, other.video] == ["c", "d"]
    assert problem.what == "column vector has changed bytes"
    assert verify(root, repair=True).lost_videos == ["c", "d"]
    assert stores.contents(root) == frames
    store = Store(root)
    assert store["c"].streams == ("rgb", "flow")
    assert store["a"].streams == ("rgb", "flow", "features/net")


def test_deep_looks_at_every_number(stores, tmp_path, monkeypatch, wanted):
    """Some other program can have written what this one would refuse."""
    vectors = wanted["c"].copy()
    vectors[4, 1] = np.nan
    monkeypatch.setattr(
        writer_module, "check_floats", lambda column, values: np.asarray(values, np.float16)
    )
    root = stores.fill_features(tmp_path, wanted | {"c": vectors})
    rebuild_index(root)
    monkeypatch.undo()
    assert verify(root).clean
    (problem,) = verify(root, deep=True).problems
    assert (problem.video, problem.what) == ("c", "row 4: vector is not finite")
    (shard,) = shards(root)
    flip(shard, shard.stat().st_size - 3)  # now the shard is written anew, without --deep too
    verify(root, repair=True)
    assert same(stores.features(root), {id: wanted[id] for id in "abd"})
    assert verify(root, deep=True).clean


def test_vectors_are_not_damaged_by_a_changed_dimension_in_store_json(stores, tmp_path, wanted):
    root = stores.fill_features(tmp_path, wanted)
    rebuild_index(root)
    header = json.loads((root / "store.json").read_text())
    header["recipe"]["features"]["net"]["dimension"] = 4
    (root / "store.json").write_text(json.dumps(header))
    (problem,) = verify(root, deep=True, repair=True).problems
    assert "store.json has another recipe than its shards (features.net.dimension: 4 ≠ 3)" in str(
        problem
    )
    assert not (root / "quarantine").exists()


def test_deep_knows_the_dimension(stores, tmp_path, wanted, monkeypatch):
    """Also if a shard, of another program, says that its recipe is that of the store."""
    monkeypatch.setattr(inspection, "list_recipe_differences", lambda *arguments: [])
    root = stores.fill_features(tmp_path, wanted)
    rebuild_index(root)
    header = json.loads((root / "store.json").read_text())
    header["recipe"]["features"]["net"]["dimension"] = 4
    (root / "store.json").write_text(json.dumps(header))
    report = verify(root, deep=True)
    assert {problem.video for problem in report.problems} == {"a", "c", "d"}
    assert "row 0: vector has 3 values, not 4" in report.problems[0].what


def test_a_store_json_that_knows_nothing_of_features(stores, tmp_path, wanted):
    """An older copy was put back: said, and left alone."""
    root = stores.fill_features(tmp_path, wanted)
    rebuild_index(root)
    header = (root / "store.json").read_text()
    values = json.loads(header)
    del values["recipe"]["features"]
    (root / "store.json").write_text(json.dumps(values))
    for repair in (False, True):
        (problem,) = verify(root, repair=repair).problems
        assert "features that the store's recipe has (none), got 'net'" in problem.what
    with pytest.raises(StoreError, match="recipe"):
        Store(root)["b"].features("net")
    (root / "store.json").write_text(header)
    assert verify(root, deep=True).clean
    assert same(stores.features(root), wanted)


def test_status_counts_features(stores, make_root, wanted):
    root = stores.fill_features(make_root({"a": stores.draw_rows(1, 3)}), wanted)
    rebuild_index(root)
    (root / "features/net" / "dead.arrow.part").write_bytes(b"")
    found = read_status(root)
    assert (found.videos, found.frames) == (4, 3)
    assert found.streams == {"rgb": 1, "flow": 1, "features/net": 4}
    assert found.shards == {"frames": 1, "features/net": 1}
    assert found.bytes["features/net"] == shards(root)[0].stat().st_size
    assert found.leftover == ["features/net/dead.arrow.part"]
    assert found.recipe["features"]["net"]["weights"] == stores.NET.weights


def test_a_shard_that_another_has_replaced_is_damaged(stores, tmp_path):
    root = stores.fill_features(tmp_path / "root", {"a": stores.draw_features(1, 4)})
    rebuild_index(root)
    features = {"net": replace(stores.RECIPE.features["net"], dimension=5)}
    recipe, other = replace(stores.RECIPE, features=features), tmp_path / "other"
    create_or_open(other, recipe)
    writer = ShardWriter(other, "features/net", recipe=recipe)
    writer.begin("a")
    writer.append_rows(np.ones((4, 5)), np.arange(4), np.zeros(4, int))
    writer.end(stores.meta("a", 4, ("features/net",)))
    writer.close()
    (shard,), (foreign,) = ((folder / "features/net").glob("*.arrow") for folder in (root, other))
    shard.write_bytes(foreign.read_bytes())
    with pytest.raises(CorruptError, match="expected vectors of 3 values in batch 0, got 5"):
        Store(root)["a"].features("net")
