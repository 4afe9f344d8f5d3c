import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowkit.errors import UsageError
from flowkit.interchange.formats.partitions import (
    MAX_PARTITIONS,
    divide_videos,
    name_partition,
    name_subsets,
)
from flowkit.store.reader import Store

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), unique=True)


@given(names)
@example(["a-b", "a_b", "a b", "A_B", "all", "unassigned", "ü", "", "_"])
def test_names_of_subsets_are_unique_and_fit_files_and_splits(names):
    found = name_subsets(names)
    assert list(found) == sorted(names)
    assert len({name.lower() for name in found.values()}) == len(names)
    for name in found.values():
        assert re.fullmatch(r"[0-9A-Za-z_]+", name)
        assert name not in ("all", "unassigned")


def test_usual_names_are_kept():
    assert name_subsets(["val", "train", "test 1"]) == {
        "test 1": "test_1", "train": "train", "val": "val",
    }  # fmt: skip


def test_long_partitions_are_shortened():
    members = tuple(f"train{n:02d}" for n in range(40))
    name = name_partition(members)
    assert len(name) < 40
    assert name != name_partition((*members[1:], "x"))
    assert name_partition(("test2", "train1")) == "test2.train1"


def test_a_video_in_two_subsets_is_in_one_partition(make_store, annotate):
    root = make_store(("a", "b", "c", "d"))
    annotate(
        root, {"a": ([], ["train1", "test2"]), "b": ([], ["test1", "train2"]), "c": ([], ["test2"])}
    )
    store = Store(root)
    found = divide_videos(store, store, (), "all")
    assert found.by_id == {
        "a": "test2.train1", "b": "test1.train2", "c": "test2", "d": "unassigned",
    }  # fmt: skip
    assert found.subsets == {
        "test2.train1": ("test2", "train1"), "test1.train2": ("test1", "train2"),
        "test2": ("test2",), "unassigned": ("unassigned",),
    }  # fmt: skip
    chosen = divide_videos(store, ["a"], ("train1",), "all")
    assert chosen.by_id == {"a": "train1"}


def test_a_store_without_subsets_is_whole(make_store):
    store = Store(make_store(("a", "b"), annotated=False))
    found = divide_videos(store, store, (), "train")
    assert found.by_id == {"a": "train", "b": "train"}
    assert found.subsets == {"train": ("train",)}


def test_too_many_combinations_are_refused(make_store, annotate):
    ids = [f"{n:03d}" for n in range(MAX_PARTITIONS + 1)]
    root = make_store(ids, frames=2)
    annotate(root, {id: ([], [f"fold{id}"]) for id in ids})
    store = Store(root)
    with pytest.raises(UsageError, match=r"65 different combinations .* --subset"):
        divide_videos(store, store, (), "all")
    assert divide_videos(store, store, ("fold001",), "all").by_id["001"] == "fold001"
