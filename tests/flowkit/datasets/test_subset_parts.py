"""Parts of a subset: ``first 90% of train`` and ``last 10% of train``."""

from collections import Counter

import numpy as np
import pytest

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.datasets.subsets import Subset, find_rows
from flowkit.errors import UsageError
from flowkit.store import Store, rebuild_index, write_annotations

CLASSES = ("a", "b", "c")


@pytest.fixture
def store(make_store):
    """Forty videos: 20 of class a, 12 of b and 5 of c in train; 3 in test."""
    ids = [f"v{n:02}" for n in range(40)]
    root = make_store(ids, frames=2, streams=("rgb",))
    names = ["a"] * 20 + ["b"] * 12 + ["c"] * 8
    rows = [
        Annotation(id, (Label(names[n]),), ("test" if n > 36 else "train",))
        for n, id in enumerate(ids)
    ]
    write_annotations(root, AnnotationTable(CLASSES, tuple(rows)))
    rebuild_index(root)
    return Store(root)


@pytest.mark.parametrize("percent", [1, 10, 37, 50, 90, 99])
def test_two_parts_are_disjoint_and_together_the_subset(store, percent):
    first = find_rows(store, f"first {percent}% of train")
    last = find_rows(store, f"last {100 - percent}% of train")
    assert len(first)
    assert len(last)
    assert sorted([*first, *last]) == store.subset("train").tolist()
    assert (np.diff(first) > 0).all()
    assert abs(len(first) - 37 * percent / 100) <= 1


def test_each_part_has_its_share_of_every_class(store):
    labels = Subset(store, "first 80% of train").labels(find_rows(store, "first 80% of train"))
    counts = Counter(CLASSES[k] for k in labels.tolist())
    for name, total in (("a", 20), ("b", 12), ("c", 5)):
        assert abs(counts[name] - 0.8 * total) <= 1


def test_the_order_is_that_of_hashed_ids(store):
    ids = {store.index.id(int(row)) for row in find_rows(store, "last 30% of train")}
    assert ids != {f"v{n:02}" for n in range(37 - len(ids), 37)}
    assert ids == {store.index.id(int(row)) for row in find_rows(store, "last 30% of train")}


def test_names_that_are_no_parts(store):
    for name in ("first 0% of train", "first 90 % of train", "middle 10% of train"):
        with pytest.raises(UsageError, match=r"expected a subset \(test, train\), got"):
            find_rows(store, name)
    with pytest.raises(UsageError, match=r"expected a subset \(test, train\), got 'val'"):
        find_rows(store, "first 90% of val")


def test_a_subset_of_this_name_is_not_divided(store):
    rows = [Annotation(id, (Label("a"),), ("last 10% of train", "train")) for id in store.ids]
    write_annotations(store.path, AnnotationTable(CLASSES, tuple(rows)))
    rebuild_index(store.path)
    assert len(find_rows(Store(store.path), "last 10% of train")) == 40
