"""Subsets in a store: what is written, kept, counted and refused."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.errors import CorruptError, FormatError, LockedError, UsageError
from flowkit.store import Store, rebuild_index
from flowkit.store.annotations import read_annotations, update_annotations, write_annotations
from flowkit.store.format.locks import hold_store
from flowkit.store.split import read_splits, split_store
from flowkit.store.status import read_status
from flowkit.store.video_groups import find_groups

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
HALVES = {"train": 0.5, "test": 0.5}


@pytest.fixture
def make_labelled(make_root, stores):
    """``make_labelled(labels, more)``: a store of videos with these class names by id.

    A value may be several names with spaces between, or "" for a video without a label. ``more``
    are annotated videos that the store does not have.
    """

    def make(labels, more=(), subsets=()):
        root = make_root({id: stores.draw_rows(0, 2) for id in labels})
        classes = sorted({name for names in labels.values() for name in names.split()})
        rows = [
            Annotation(id, tuple(map(Label, names.split())), tuple(subsets))
            for id, names in labels.items()
        ]
        rows += [Annotation(id, (Label(classes[0]),), ()) for id in more]
        rows.sort(key=lambda row: row.id)
        write_annotations(root, AnnotationTable(tuple(classes), tuple(rows)))
        rebuild_index(root)
        return root

    return make


def make_ids(classes="ab", groups=10, clips=1):
    """Ids as in UCF101: class, group and clip."""
    return {
        f"v_{c}_g{g:02}_c{n}": c for c in classes for g in range(groups) for n in range(clips)
    }  # fmt: skip


def read_subsets(root):
    store = Store(root)
    return {id: store[id].subsets for id in store}


def test_each_class_is_divided(make_labelled):
    root = make_labelled(make_ids())
    summary = split_store(root, FRACTIONS)
    assert Store(root).subsets() == {"train": 16, "val": 2, "test": 2}
    assert all(len(subsets) == 1 for subsets in read_subsets(root).values())
    for c in "ab":
        names = [s[0] for id, s in read_subsets(root).items() if id.startswith(f"v_{c}")]
        assert sorted(names) == ["test", *["train"] * 8, "val"]
    first, second = summary.format_lines()
    assert first == (
        "divided 20 videos: train 16 (80.0%, 80.0% requested), val 2 (10.0%, 10.0% requested), "
        "test 2 (10.0%, 10.0% requested); seed 0"
    )
    assert second == "2 classes; all in every subset"


def test_the_same_arguments_give_the_same_subsets_again(make_labelled):
    root = make_labelled(make_ids(clips=2))
    split_store(root, FRACTIONS, group_by=r"g(\d+)", seed=5)
    first = read_subsets(root)
    (record,) = read_splits(root)
    assert (record.fractions, record.group_by, record.seed) == (FRACTIONS, r"g(\d+)", 5)
    split_store(root, FRACTIONS, seed=6, overwrite=True)
    assert read_subsets(root) != first
    backwards = dict(reversed(record.fractions.items()))
    split_store(root, backwards, group_by=record.group_by, seed=record.seed, overwrite=True)
    assert read_subsets(root) == first
    assert read_splits(root) == [record]
    assert read_status(root).splits[0]["seed"] == 5


def test_another_store_of_the_same_videos_gets_the_same_subsets(make_labelled):
    ids = list(make_ids().items())
    random.Random(1).shuffle(ids)
    roots = [make_labelled(dict(ids)), make_labelled(make_ids())]
    for root in roots:
        split_store(root, FRACTIONS)
    assert read_subsets(roots[0]) == read_subsets(roots[1])


def test_groups_of_a_pattern_stay_together(make_labelled):
    root = make_labelled(make_ids(groups=5, clips=3))
    summary = split_store(root, HALVES, group_by=r"_g(\d+)_")
    subsets_of_group = {(id[4:7], subsets) for id, subsets in read_subsets(root).items()}
    assert len(subsets_of_group) == 5
    assert (summary.groups, summary.ungrouped) == (5, 0)
    assert summary.format_lines()[-1] == r"5 groups by pattern '_g(\d+)_'; none is cut"


def test_a_pattern_without_a_group_names_its_whole_match(make_labelled):
    root = make_labelled(make_ids(groups=5, clips=3))
    assert split_store(root, HALVES, group_by=r"g\d+").groups == 5


def test_ids_that_a_pattern_does_not_match_are_groups_of_their_own(make_labelled):
    root = make_labelled(make_ids(groups=4) | {"x": "a", "y": "b", "g01": "a"})
    # "g01" is the name of a video and of a group; they must not be taken for each other.
    summary = split_store(root, HALVES, group_by=r"_(g\d+)_")
    assert (summary.groups, summary.ungrouped) == (4, 3)
    assert "3 videos name no group; each is divided on its own" in summary.format_lines()


def test_groups_of_a_column():
    people = [("a", {"person": "ann", "take": "1"}), ("b", {"person": "ann"}), ("c", {})]
    videos = [SimpleNamespace(id=id, attributes=attributes) for id, attributes in people]
    groups = {"a": (1, "ann"), "b": (1, "ann"), "c": (0, "c")}
    assert find_groups(videos, "person") == groups
    with pytest.raises(UsageError, match=r"columns: person, take.* none of the 3 ids, such as 'a'"):
        find_groups(videos, "persn")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("person", "is no column .* is found in none of the 20 ids, such as 'v_a_g00_c0'"),
        ("g(", "no regular expression: missing"),
        ("z*", "is found in none of the 20 ids"),  # an empty match names nothing
    ],
)
def test_group_by_that_finds_nothing(make_labelled, pattern, message):
    root = make_labelled(make_ids())
    with pytest.raises(UsageError, match=message):
        split_store(root, FRACTIONS, group_by=pattern)
    assert Store(root).subsets() == {}


def test_a_class_with_one_video_is_kept_in_train(make_labelled):
    for seed in range(6):
        root = make_labelled(make_ids() | {"only": "c"})
        summary = split_store(root, HALVES, seed=seed)
        assert read_subsets(root)["only"] == ("train",)
    assert summary.lone_classes == ("c",)
    assert "1 class has one video only, which is in train: c" in summary.format_lines()
    assert "3 classes; 1 has no video in test" in summary.format_lines()


def test_videos_of_several_labels_and_of_none_are_counted(make_labelled):
    root = make_labelled(make_ids() | {"x": "a b", "y": "", "z": ""}, more=("later",))
    summary = split_store(root, FRACTIONS)
    assert (summary.several_labels, summary.unlabelled, summary.not_stored) == (1, 2, 1)
    assert summary.format_lines()[2:] == [
        "videos with several labels, of which the first is the class: 1",
        "videos without a label, which get no subset: 2",
        "annotated videos that are not in the store, which get no subset: 1",
    ]
    assert read_subsets(root)["y"] == ()
    assert len(read_subsets(root)["x"]) == 1
    assert read_annotations(root).by_id()["later"].subsets == ()


def test_a_store_without_annotations_is_divided_at_random(make_root, stores):
    root = make_root({f"v{n}": stores.draw_rows(0, 2) for n in range(20)})
    rebuild_index(root)
    summary = split_store(root, FRACTIONS)
    assert Store(root).subsets() == {"train": 16, "val": 2, "test": 2}
    assert summary.classes == 0
    assert len(summary.format_lines()) == 1


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.8, "val": 0.1}, "got train 0.8, val 0.1 with the sum 0.9; add --test 0.1$"),
        ({"train": 1.5, "val": -0.5}, "between 0 and 1"),
        ({"train": float("nan")}, "between 0 and 1"),
        ({}, "got none"),
    ],
)
def test_fractions_that_make_no_sense(make_labelled, fractions, message):
    root = make_labelled(make_ids())
    with pytest.raises(UsageError, match=message):
        split_store(root, fractions)


def test_a_fraction_of_zero_makes_no_subset(make_labelled):
    root = make_labelled(make_ids())
    split_store(root, {"train": 0.75, "val": 0, "test": 0.25})
    assert Store(root).subsets() == {"train": 15, "test": 5}


def test_thirds_are_a_whole(make_labelled):
    root = make_labelled(make_ids(groups=9))
    split_store(root, {"train": 1 / 3, "val": 1 / 3, "test": 1 / 3})
    assert Store(root).subsets() == {"train": 6, "val": 6, "test": 6}


def test_subsets_are_replaced_only_on_request(make_labelled):
    root = make_labelled(make_ids(), subsets=("official",))
    before = (root / "annotations.arrow").read_bytes()
    with pytest.raises(UsageError, match=r"found official \(20\); give --replace"):
        split_store(root, FRACTIONS)
    assert (root / "annotations.arrow").read_bytes() == before
    split_store(root, FRACTIONS, overwrite=True)
    with pytest.raises(UsageError, match=r"train \(16\), val \(2\), made by .* with seed 0"):
        split_store(root, FRACTIONS)


def test_a_division_that_leaves_a_subset_empty_is_refused(make_labelled):
    root = make_labelled({"a": "one", "b": "one"})
    with pytest.raises(UsageError, match=r"left for test \(train 1, val 1, test 0\).* 2 videos"):
        split_store(root, FRACTIONS)
    root = make_labelled(make_ids(groups=2, clips=5))
    with pytest.raises(UsageError, match="the store has 2 groups; ask for fewer subsets"):
        split_store(root, FRACTIONS, group_by=r"g\d+")
    root = make_labelled({name: name for name in "abcdef"})
    with pytest.raises(UsageError, match="6 classes occur in one video only"):
        split_store(root, HALVES)
    assert Store(root).subsets() == {}


def test_unequal_groups_are_described_with_their_real_counts(make_labelled):
    ids = {f"g0_{n}": "a" for n in range(14)} | {f"g1_{n}": "a" for n in range(6)}
    summary = split_store(make_labelled(ids), HALVES, group_by="g.")
    assert summary.format_lines()[0].startswith(
        "divided 20 videos: train 14 (70.0%, 50.0% requested), test 6 (30.0%, 50.0% requested)"
    )


def test_a_folder_that_is_no_store_is_left_alone(tmp_path):
    with pytest.raises(FormatError, match="found no store"):
        split_store(tmp_path / "typo", FRACTIONS)
    assert not (tmp_path / "typo").exists()


def test_an_empty_store(make_root):
    root = make_root({})
    with pytest.raises(UsageError, match="found none; extract some first"):
        split_store(root, FRACTIONS)


def test_one_subset_is_divided_further(make_labelled):
    root = make_labelled(make_ids(groups=20))
    split_store(root, {"train": 0.75, "test": 0.25})
    before = read_subsets(root)
    split_store(root, {"train": 0.8, "val": 0.2}, only="train", seed=2)
    after = read_subsets(root)
    assert Store(root).subsets() == {"train": 24, "val": 6, "test": 10}
    assert {id for id in after if after[id] == ("test",)} == {
        id for id in before if before[id] == ("test",)
    }
    assert [record.only for record in read_splits(root)] == [None, "train"]
    with pytest.raises(
        UsageError,
        match=r"without the subset val, .* val \(6\), made by .* with seed 2; give --replace",
    ):
        split_store(root, {"train": 0.8, "val": 0.2}, only="train")
    split_store(root, {"train": 0.8, "val": 0.2}, only="train", seed=2, overwrite=True)
    assert read_subsets(root) == after
    assert [record.only for record in read_splits(root)] == [None, "train"]
    split_store(root, {"train": 0.5, "dev": 0.5}, only="train")
    assert Store(root).subsets() == {"train": 12, "dev": 12, "val": 6, "test": 10}
    assert [record.fractions for record in read_splits(root)[1:]] == [  # val is of the first one
        {"train": 0.8, "val": 0.2}, {"train": 0.5, "dev": 0.5},
    ]  # fmt: skip
    with pytest.raises(UsageError, match="expected a subset 'trian' to divide"):
        split_store(root, HALVES, only="trian")


def test_videos_without_a_label_stay_in_a_subset_that_is_divided(make_labelled):
    root = make_labelled(make_ids() | {"y": ""}, subsets=("train", "all"))
    summary = split_store(root, {"train": 0.9, "val": 0.1}, only="train")
    assert "videos without a label, which stay in train: 1" in summary.format_lines()
    assert read_subsets(root)["y"] == ("train", "all")
    assert Store(root).subsets() == {"all": 21, "train": 19, "val": 2}


def test_a_store_that_is_written_to_is_not_divided(make_labelled):
    root = make_labelled(make_ids())
    with hold_store(root), pytest.raises(LockedError):
        split_store(root, FRACTIONS)


def test_annotations_without_subsets_keep_those_of_a_division(make_labelled):
    root = make_labelled(make_ids())
    table = read_annotations(root)
    split_store(root, FRACTIONS)
    before = read_subsets(root)
    later = Annotation("z", (Label("new"),), ())
    update_annotations(root, AnnotationTable(("a", "b", "new"), (*table.annotations, later)))
    rebuild_index(root)
    assert read_subsets(root) == before
    assert Store(root).classes == ("a", "b", "new")
    assert len(read_splits(root)) == 1


def test_annotations_with_subsets_replace_those_of_a_division(make_labelled):
    root = make_labelled(make_ids())
    split_store(root, FRACTIONS)
    official = Annotation("v_a_g00_c0", (Label("a"),), ("official",))
    update_annotations(root, AnnotationTable(("a",), (official,)))
    rebuild_index(root)
    assert Store(root).subsets() == {"official": 1}
    assert read_splits(root) == []


def test_an_extraction_keeps_a_division_of_all_videos(make_labelled):
    root = make_labelled(make_ids())
    split_store(root, FRACTIONS)
    before = read_subsets(root)
    official = [Annotation(id, (Label("a"),), ("official",)) for id in (*before, "z")]
    newer = AnnotationTable(("a",), tuple(official))
    assert update_annotations(root, newer, keep_division=True)
    rebuild_index(root)
    assert read_subsets(root) == before
    assert read_annotations(root).by_id()["z"].subsets == ()
    assert len(read_splits(root)) == 1


def test_an_extraction_keeps_the_division_of_one_subset(make_labelled):
    root = make_labelled(make_ids())
    official = {id: ("test" if "g01" in id else "train",) for id in Store(root).ids}
    rows = [Annotation(id, (Label(id[2]),), names) for id, names in official.items()]
    update_annotations(root, AnnotationTable(("a", "b"), tuple(rows)))
    rebuild_index(root)
    split_store(root, {"train": 0.5, "val": 0.5}, only="train")
    before = read_subsets(root)
    rows.append(Annotation("z", (Label("a"),), ("test",)))
    update_annotations(root, AnnotationTable(("a", "b"), tuple(rows)), keep_division=True)
    rebuild_index(root)
    assert read_subsets(root) == before
    assert read_annotations(root).by_id()["z"].subsets == ("test",)


def test_annotations_that_say_nothing_new_are_not_written(make_labelled):
    root = make_labelled(make_ids())
    table = read_annotations(root)
    split_store(root, FRACTIONS)
    before = (root / "annotations.arrow").stat()
    update_annotations(root, table)
    assert (root / "annotations.arrow").stat().st_ino == before.st_ino


def test_stored_videos_without_annotations_do_not_keep_old_class_ids(make_labelled):
    root = make_labelled({"x": "", "y": "a"})
    newer = AnnotationTable(("b", "a"), (Annotation("y", (Label("a"),), ()),))
    update_annotations(root, newer)
    rebuild_index(root)
    assert Store(root).classes == ("b", "a")
    assert "x" in read_annotations(root).by_id()


def test_a_broken_record_is_said(make_labelled):
    root = make_labelled(make_ids())
    split_store(root, FRACTIONS)
    content = (root / "annotations.arrow").read_bytes()
    assert b'"group_by"' in content
    (root / "annotations.arrow").write_bytes(content.replace(b'"group_by"', b'"xroup_by"'))
    with pytest.raises(CorruptError, match="expected how the subsets were made"):
        read_splits(root)


def test_updates_at_the_same_time_lose_none(make_root):
    """Each reads the annotations, merges, and replaces them: another may not do so in between."""
    root = make_root({})
    start = threading.Barrier(4)

    def update(number):
        start.wait()
        for k in range(5):
            row = Annotation(f"{number}-{k}", (Label("a"),), ())
            update_annotations(root, AnnotationTable(("a",), (row,)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(update, range(4)))
    table = read_annotations(root)
    assert {annotation.id for annotation in table.annotations} == {
        f"{number}-{k}" for number in range(4) for k in range(5)
    }


def test_annotations_of_no_store_leave_nothing_behind(tmp_path):
    with pytest.raises(FormatError, match=r"found no store\.json"):
        update_annotations(tmp_path / "S", AnnotationTable((), ()))
    assert not list(tmp_path.iterdir())
