import math
import re

import pytest

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.errors import AnnotationError, UsageError
from flowkit.interchange.activitynet import (
    AnnotationOptions,
    AnnotationReport,
    VideoFacts,
    build_annotations,
    describe_annotations,
)

JUMP = (Label("jump", 1.0, 2.0),)


def make_facts(*ids, duration=10.0):
    return {id: VideoFacts(duration, 25.0, f"{id}.npy") for id in ids}


def make_table(subsets, labels=JUMP, classes=("jump",)):
    annotations = (Annotation(id, labels, tuple(names)) for id, names in sorted(subsets.items()))
    return AnnotationTable(classes, tuple(annotations))


def test_the_whole_content():
    labels = (Label("run", 1, 2.5), Label("jump"), Label("run", 9.5, 12.0))
    table = AnnotationTable(
        ("sit", "run", "jump"),  # the order of a class list
        (Annotation("a", labels, ("train",)), Annotation("b", (), ("test",))),
    )
    videos = {"b": VideoFacts(0.04, 25.0, "b.npy"), "a": VideoFacts(10.01, 29.97, "v/a%2Fx.npy")}
    assert build_annotations(table, videos) == {
        "version": "flowkit 1",
        "taxonomy": [
            {"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None},
            {"nodeId": 1, "nodeName": "run", "parentId": 0, "parentName": "Root"},
            {"nodeId": 2, "nodeName": "jump", "parentId": 0, "parentName": "Root"},
        ],
        "database": {
            "b": {"subset": "testing", "duration": 0.04, "fps": 25.0, "frame": 1,
                  "annotations": []},
            "v/a%2Fx": {
                "subset": "training", "duration": 10.01, "fps": 29.97, "frame": 300,
                "annotations": [
                    {"segment": [1.0, 2.5], "label": "run", "label_id": 0},
                    {"segment": [0.0, 10.01], "label": "jump", "label_id": 1},
                    {"segment": [9.5, 10.01], "label": "run", "label_id": 0},
                ],
            },
        },
    }  # fmt: skip


SPLITS = {"a": ["train1", "test2"], "b": ["test1", "train2"], "c": ["test2"], "d": ["train11"]}


@pytest.mark.parametrize(
    ("subsets", "options", "expected"),
    [
        ({"a": ["train"], "b": ["val"], "c": ["test"], "d": ["fold 3"], "e": []}, {},
         {"a": "training", "b": "validation", "c": "testing", "d": "fold 3", "e": "unassigned"}),
        ({"a": ["train"], "b": ["val"], "c": ["test"], "d": []}, {"subset_names": "labels"},
         {"a": "train", "b": "val", "c": "test", "d": "unassigned"}),
        ({"a": ["train1"], "b": ["test1"]}, {}, {"a": "train1", "b": "test1"}),
        (SPLITS, {"split": 1}, {"a": "training", "b": "testing"}),
        (SPLITS, {"split": 2, "subset_names": "labels"}, {"a": "test", "b": "train", "c": "test"}),
        (SPLITS, {"split": 11}, {"d": "training"}),
        ({"a": ["train_01"], "b": ["val-1"]}, {"split": 1}, {"a": "training", "b": "validation"}),
    ],
)  # fmt: skip
def test_subsets(subsets, options, expected):
    report = AnnotationReport()
    content = build_annotations(
        make_table(subsets), make_facts(*subsets), AnnotationOptions(**options), report
    )
    found = {key: entry["subset"] for key, entry in content["database"].items()}
    assert found == expected
    assert report.outside_split == sorted(subsets.keys() - expected.keys())


@pytest.mark.parametrize(
    ("subsets", "videos", "options", "error", "message"),
    [
        ({"a": ["train"]}, {}, {}, UsageError, "no video has features"),
        ({"a": ["train"]}, make_facts("b"), {"split": 1}, UsageError,
         "no subset of split 1: the annotations have train"),
        ({"a": ["train1"], "b": ["train2"]}, make_facts("b"), {"split": 1}, UsageError,
         "no video with features can be annotated: 1 annotated video left out, since it has no "
         "features: a; 1 video left out, since it is in no subset of the split: b"),
        ({"a": ["train", "val"]}, make_facts("a"), {}, AnnotationError,
         "video 'a' is in the subsets train, val, but such a file has one subset for each video; "
         "correct the labels so that each video is in one"),
        ({"a": ["train1", "test2"]}, make_facts("a"), {}, AnnotationError,
         "name the split that is meant (--annotation-split)"),
        ({"a": ["train1", "test1"]}, make_facts("a"), {"split": 1}, AnnotationError,
         "video 'a' is in the subsets train, test"),
        ({"a": ["train"], "b": ["val"]},
         {id: VideoFacts(1.0, 25.0, "x.npy") for id in "ab"}, {}, AnnotationError,
         "the videos 'a' and 'b' have one feature file, x.npy"),
    ],
)  # fmt: skip
def test_what_is_refused(subsets, videos, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build_annotations(make_table(subsets), videos, AnnotationOptions(**options))


@pytest.mark.parametrize("name", ["two\nlines", "a\r"])
def test_a_class_that_cannot_be_in_a_list(name):
    table = make_table({"a": ["train"]}, (Label(name),), (name, "other\nunused"))
    with pytest.raises(AnnotationError, match="cannot be a line of the class list"):
        build_annotations(table, make_facts("a"))


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_loaders_divide_by_duration_and_frame_rate(value):
    with pytest.raises(AnnotationError, match=r"^a\.npy: expected a duration above 0"):
        VideoFacts(value, 25.0, "a.npy")
    with pytest.raises(AnnotationError, match=r"^a\.npy: expected a frame rate above 0"):
        VideoFacts(25.0, value, "a.npy")


def describe(table, videos, **options):
    report = AnnotationReport()
    build_annotations(table, videos, AnnotationOptions(**options), report)
    return describe_annotations("a.json", report)


def test_what_is_left_out_is_said():
    labels = {"a": (Label("jump", 1, 2), Label("jump")), "b": (), "c": (), "d": JUMP, "e": JUMP}
    subsets = {"a": "train", "b": "train", "c": "val", "d": "val"}
    annotations = (
        Annotation(id, labels[id], (subsets[id],) if id in subsets else ()) for id in labels
    )
    table = AnnotationTable(("jump", "run"), tuple(annotations))
    assert describe(table, make_facts("a", "b", "c", "e", "f")) == [
        "a.json: 4 videos (training 1, unassigned 2, validation 1), 3 segments of 1 class",
        "1 label has no start and end, and its segment is the whole video: a (jump)",
        "1 video without segments in unassigned, kept: f",
        "1 video without segments in validation, kept: c",
        "2 videos have no subset and got the name 'unassigned'",
        "1 training video left out, since it has no segment: b",
        "1 annotated video left out, since it has no features: d",
        "1 class left out, since it has no segment: run",
    ]


def test_labels_without_times_are_said_at_once():
    table = make_table({"a": ["train"], "b": ["train"]}, (Label("jump"),))
    lines = describe(table, make_facts("a", "b"))
    assert lines[0] == "a.json: 2 videos (training 2), 2 segments of 1 class"
    assert lines[1].startswith("no label has a start and an end, so each segment is a whole video")
    assert len(lines) == 2


def test_times_that_may_be_frame_numbers():
    labels = (Label("jump", 25, 50), Label("run", 75, 99), Label("run", 1, 9))
    table = make_table({"a": ["train"]}, labels, ("jump", "run"))
    lines = describe(table, make_facts("a"))
    assert lines[1].endswith(
        "a (25 to 50 s), a (75 to 99 s); if the times are frame numbers, say so: --columns "
        "start_frame=COLUMN,end_frame=COLUMN,fps=25"
    )
    assert "frame numbers" not in str(describe(table, make_facts("a", duration=80.0)))
