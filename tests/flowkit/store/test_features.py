"""Local features in a store: what goes in comes out as float16, and nothing else gets in."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.errors import RecipeError, StoreError, UsageError
from flowkit.recipe import StoreRecipe
from flowkit.store import ShardWriter, Store, create_or_open, read_header, rebuild_index
from flowkit.store import writer as writer_module

FINITE = st.floats(-65504, 65504, width=32)


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(0, 7), max_size=8),
    roll=st.integers(500, 9000),
    batch=st.integers(20, 2000),
    split=st.integers(1, 4),
)
def test_what_goes_in_comes_out(stores, counts, roll, batch, split):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "BATCH_BYTES", batch)
        root = Path(folder)
        create_or_open(root, stores.RECIPE)
        writer = ShardWriter(root, "features/net", recipe=stores.RECIPE, roll_bytes=roll)
        wanted = {f"v{k}": stores.draw_features(k, count) for k, count in enumerate(counts)}
        for id, vectors in wanted.items():
            writer.begin(id)
            for start in range(0, len(vectors), split):
                some = np.arange(start, min(start + split, len(vectors)))
                writer.append_rows(vectors[some], some, -some)
            writer.end(stores.meta(id, len(vectors), ("features/net",)))
        writer.close()
        found = stores.features(root)
        assert found.keys() == wanted.keys()
        store = Store(root)
        for id, vectors in wanted.items():
            assert found[id].dtype == np.float16
            assert found[id].shape == vectors.shape
            assert np.array_equal(found[id], vectors)
            steps = list(range(len(vectors)))
            assert store[id].vectors("features/net", "position").tolist() == steps
            assert store[id].vectors("features/net", "view").tolist() == [-k for k in steps]
            assert (store[id].num_frames, store[id].fps, store[id].width) == (0, 0, 0)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=1, max_size=9))
def test_rounding_is_what_the_docstring_says(stores, values):
    with tempfile.TemporaryDirectory() as folder:
        found = stores.features(stores.fill_features(Path(folder), {"a": np.array(values)}))["a"]
        error = np.abs(found.astype(np.float64) - values)
        assert (error <= np.maximum(2.0**-11 * np.abs(values), 2.0**-25)).all()


def test_one_row_and_many_are_the_same(stores, tmp_path):
    vectors = stores.draw_features(1, 4)
    stores.fill_features(tmp_path / "many", {"a": vectors})
    create_or_open(tmp_path / "one", stores.RECIPE)
    writer = ShardWriter(tmp_path / "one", "features/net", recipe=stores.RECIPE, dimension=3)
    writer.begin("a")
    for k, vector in enumerate(vectors):
        writer.append(vector=vector, position=k, view=k % 2)
    writer.end(stores.meta("a", 4, ("features/net",)))
    writer.close()
    for root in (tmp_path / "one", tmp_path / "many"):
        assert np.array_equal(stores.features(root)["a"], vectors)
        video = Store(root)["a"]
        assert video.vectors("features/net", "position").tolist() == [0, 1, 2, 3]
        assert video.vectors("features/net", "view").tolist() == [0, 1, 0, 1]


def test_anyone_with_arrow_can_read_a_shard(stores, tmp_path):
    vectors = stores.draw_features(1, 5)
    root = stores.fill_features(tmp_path, {"a": vectors, "silent": vectors[:0]})
    (path,) = (root / "features/net").glob("*.arrow")
    with path.open("rb") as file:
        batch = pa.ipc.open_file(file).get_batch(0)
        batch.validate(full=True)
        assert batch.schema.field("vector").type == pa.list_(pa.float16(), 3)
        assert batch.schema.field("position").type == pa.int32()
        assert batch.schema.field("view").type == pa.int16()
        assert np.array_equal(np.array(batch["vector"].to_pylist()), vectors)


def test_a_store_may_hold_nothing_but_empty_sets(stores, tmp_path):
    none = stores.draw_features(1, 0)
    found = stores.features(stores.fill_features(tmp_path, {"a": none, "b": none}))
    assert [vectors.shape for vectors in found.values()] == [(0, 3)] * 2
    assert Store(tmp_path)["a"].vectors("features/net", "position").dtype == np.int32


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65520.0, -1e30])
def test_what_float16_cannot_hold_is_refused(stores, tmp_path, value):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, "features/net", recipe=stores.RECIPE)
    writer.begin("a")
    vectors = np.ones((2, 3), np.float32)
    vectors[1, 2] = value
    with pytest.raises(StoreError, match=r"finite values of at most 65504.*got"):
        writer.append_rows(vectors, [0, 1], [0, 0])
    with pytest.raises(StoreError, match="finite"):
        writer.append(vector=vectors[1], position=0, view=0)
    writer.abandon()
    stores.put_features(writer, "a", stores.draw_features(1, 2))
    writer.close()
    assert np.array_equal(stores.features(tmp_path)["a"], stores.draw_features(1, 2))


def test_misuse_is_refused(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, "features/net", recipe=stores.RECIPE)
    two = np.zeros((2, 3))
    with pytest.raises(StoreError, match="no video is open"):
        writer.append_rows(two, [0, 1], [0, 0])
    writer.begin("a")
    with pytest.raises(StoreError, match="expected 3 values, got 4"):
        writer.append_rows(np.zeros((2, 4)), [0, 1], [0, 0])
    with pytest.raises(StoreError, match=r"as many positions and views.*\[2, 1, 2\]"):
        writer.append_rows(two, [0], [0, 0])
    with pytest.raises(StoreError, match="view: expected integers of int16"):
        writer.append_rows(two, [0, 1], [0, 1 << 15])
    for wrong in ([0.5, 1], [None, 1], [[0, 1]], 3):
        with pytest.raises(StoreError, match="position: expected an integer in every row"):
            writer.append_rows(two, wrong, [0, 0])
    for wrong in (None, "abc", [["a", "b", "c"]]):
        with pytest.raises(StoreError, match="vector: expected numbers"):
            writer.append_rows(wrong, [0], [0])
    with pytest.raises(StoreError, match="position"):
        writer.append(vector=two[0], view=0)
    with pytest.raises(StoreError, match="with 0 rows"):
        writer.end(stores.meta("a", 1, ("features/net",)))


def test_the_writer_keeps_to_the_recipe(stores, tmp_path):
    with pytest.raises(StoreError, match=r"the store's recipe has \(net\), got 'other'"):
        ShardWriter(tmp_path, "features/other", recipe=stores.RECIPE)
    with pytest.raises(StoreError, match=r"expected vectors of 3 values.*got 4"):
        ShardWriter(tmp_path, "features/net", recipe=stores.RECIPE, dimension=4)


def test_features_join_a_store_that_is_there(stores, make_root):
    """Frames first, features later: one index, and each video keeps what it had."""
    root = make_root({"a": stores.draw_rows(1, 4), "b": stores.draw_rows(2, 3)})
    vectors = stores.draw_features(1, 2)
    stores.fill_features(root, {"a": vectors})
    assert stores.contents(root) == {"a": stores.draw_rows(1, 4), "b": stores.draw_rows(2, 3)}
    store = Store(root)
    assert store["a"].streams == ("rgb", "flow", "features/net")
    assert (store["a"].num_frames, store["a"].fps, store["a"].width) == (4, 25.0, 4)
    assert np.array_equal(store["a"].features("net"), vectors)
    with pytest.raises(UsageError, match=r"video 'b' has no features/net.*flowkit features --name"):
        store["b"].features("net")
    with pytest.raises(UsageError, match="no column 'patch'"):
        store["a"].vectors("features/net", "patch")


def test_a_recipe_of_features(stores, tmp_path):
    recipe = stores.RECIPE
    assert recipe.streams == ("rgb", "flow", "audio", "features/net")
    assert StoreRecipe.from_dict(recipe.to_dict()) == recipe
    assert "features" not in replace(recipe, features={}).to_dict()  # as stores without ever were
    flow = replace(stores.NET, source="flow")
    create_or_open(tmp_path, recipe)
    create_or_open(tmp_path, replace(recipe, features={"flow": flow}))
    create_or_open(tmp_path, replace(recipe, features={}))
    assert read_header(tmp_path).recipe == replace(
        recipe, features={"net": stores.NET, "flow": flow}
    )
    assert sorted(path.name for path in (tmp_path / "features").iterdir()) == ["flow", "net"]


def test_another_network_under_the_same_name_is_refused(stores, tmp_path):
    create_or_open(tmp_path, stores.RECIPE)
    other = replace(stores.NET, weights="cd" * 16, positions=25)
    with pytest.raises(RecipeError) as caught:
        create_or_open(tmp_path, replace(stores.RECIPE, features={"net": other}))
    message = str(caught.value)
    assert f"features.net.weights: {'ab' * 16} ≠ {'cd' * 16}" in message
    assert "features.net.positions: 0 ≠ 25" in message
    assert "another name" in message
    assert "model" not in message
    assert read_header(tmp_path).recipe == stores.RECIPE


@pytest.mark.parametrize("name", ["", "a/b", "..", ".a", "-a", "a b", "ü", "a\n"])
def test_a_name_becomes_a_folder(stores, name):
    with pytest.raises(UsageError, match="a feature name begins with a letter or digit, and"):
        StoreRecipe(features={name: stores.NET})


def test_a_recipe_that_makes_no_sense(stores):
    for wrong in ({"dimension": 0}, {"positions": -1}, {"clip_length": 0}, {"source": "video"}):
        with pytest.raises(UsageError, match="features"):
            replace(stores.NET, **wrong)
    values = stores.RECIPE.to_dict()
    values["features"]["net"]["colour"] = 1
    with pytest.raises(UsageError, match=r"unknown key 'colour' in features\.net"):
        StoreRecipe.from_dict(values)


def test_a_shard_of_features_rolls_by_its_first_video(stores, tmp_path, monkeypatch):
    """Small streams gather many videos in a batch; their age counts from the first of them."""
    create_or_open(tmp_path, stores.RECIPE)
    now = [100.0]
    monkeypatch.setattr(writer_module.time, "monotonic", lambda: now[0])
    writer = ShardWriter(tmp_path, "features/net", recipe=stores.RECIPE, roll_seconds=50)
    assert stores.put_features(writer, "a", stores.draw_features(1, 2)) is None
    now[0] += 51
    record = stores.put_features(writer, "b", stores.draw_features(2, 2))
    assert [video.id for video in record.videos] == ["a", "b"]
    now[0] += 51
    assert stores.put_features(writer, "c", stores.draw_features(2, 2)) is None
    rebuild_index(tmp_path)
    assert list(Store(tmp_path)) == ["a", "b"]
