"""Classes and subsets of many videos: what a loop over the videos says."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import UsageError
from flowkit.store.index_file import LABELS, SUBSETS
from flowkit.store.label_columns import LabelColumns

CLASSES = ("run", "brush hair", "swim")
VIDEOS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), max_size=4),
        st.lists(st.sampled_from(["train", "val", "x 1"]), max_size=3, unique=True),
    ),
    max_size=20,
)


def make_columns(videos):
    labels = [[{"class": k, "start": None, "end": None} for k in codes] for codes, _ in videos]
    subsets = [names for _, names in videos]
    return LabelColumns(pa.array(labels, LABELS), pa.array(subsets, SUBSETS), CLASSES)


@given(VIDEOS)
def test_lists_and_matches(videos):
    columns = make_columns(videos)
    assert len(columns) == len(videos)
    rows = np.arange(len(videos))
    expected = [[CLASSES[k] for k in dict.fromkeys(codes)] for codes, _ in videos]
    assert columns.list_classes(rows) == expected
    assert columns.list_subsets(rows) == [names for _, names in videos]
    assert columns.subset_names == tuple(sorted({name for _, names in videos for name in names}))
    for k, name in enumerate(CLASSES):
        assert columns.match("class", name).tolist() == [k in codes for codes, _ in videos]
    for name in columns.subset_names:
        assert columns.match("subset", name).tolist() == [name in names for _, names in videos]


@given(VIDEOS)
def test_a_video_counts_once_for_a_class(videos):
    columns = make_columns(videos)
    counts, by_subset = columns.count_by_class()
    assert counts.tolist() == [sum(k in codes for codes, _ in videos) for k in range(3)]
    assert by_subset.tolist() == [
        [sum(k in codes and name in names for codes, names in videos)
         for name in columns.subset_names]
        for k in range(3)
    ]  # fmt: skip


def test_no_videos_and_no_classes():
    columns = LabelColumns(pa.array([], LABELS), pa.array([], SUBSETS), ())
    counts, by_subset = columns.count_by_class()
    assert counts.shape == (0,)
    assert by_subset.shape == (0, 0)


def test_a_subset_of_other_videos_matches_none():
    columns = LabelColumns(
        pa.array([[]], LABELS), pa.array([["val"]], SUBSETS), CLASSES, lambda: ["val", "test 1"]
    )
    assert columns.subset_names == ("test 1", "val")
    assert columns.match("subset", "test 1").tolist() == [False]
    assert columns.match("subset", "val").tolist() == [True]


@pytest.mark.parametrize(
    ("column", "name", "reason"),
    [("class", "rum", "did you mean 'run'"), ("subset", "test", "there are train")],
)
def test_an_unknown_name_is_said(column, name, reason):
    with pytest.raises(UsageError, match=reason):
        make_columns([([0], ["train"])]).match(column, name)
