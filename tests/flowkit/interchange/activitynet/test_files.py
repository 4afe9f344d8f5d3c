import errno
import json
import os
import re

import pytest

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.errors import AnnotationError, DiskFullError, FlowkitError, UsageError
from flowkit.interchange.activitynet import (
    AnnotationOptions,
    VideoFacts,
    build_annotations,
    check_annotations,
    write_annotations,
)

TABLE = AnnotationTable(("größer", "x y"), (Annotation("ü", (Label("größer", 1, 2),), ("val",)),))
VIDEOS = {"ü": VideoFacts(10.0, 25.0, "%C3%BC.npy")}


def test_the_files(tmp_path):
    path = tmp_path / "annotations.json"
    for _ in range(2):  # an existing file is replaced
        report = write_annotations(path, TABLE, VIDEOS)
        assert report.classes == ("größer",)
        assert json.loads(path.read_bytes().decode("ascii")) == build_annotations(TABLE, VIDEOS)
        assert (tmp_path / "category_idx.txt").read_text(encoding="utf-8") == "größer\n"
        assert sorted(file.name for file in tmp_path.iterdir()) == [
            "annotations.json", "category_idx.txt", "missing_files.txt"
        ]  # fmt: skip


def test_a_full_disk_leaves_the_old_annotations(tmp_path, monkeypatch):
    path = tmp_path / "annotations.json"
    path.write_text("old")

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFullError, match="disk full while writing"):
        write_annotations(path, TABLE, VIDEOS)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["annotations.json"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder.json", "folder.json is a folder; name a file such as"),
        ("%C3%BC.json", "describes the features of a video of this name"),
        ("category_idx.txt", "category_idx.txt is the name of another file"),
    ],
)
def test_paths_that_are_refused(tmp_path, name, message):
    (tmp_path / "%C3%BC.npy").touch()
    (tmp_path / "%C3%BC.json").write_text("about the features")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match=re.escape(message)):
        write_annotations(tmp_path / name, TABLE, VIDEOS)
    with pytest.raises(UsageError, match=re.escape(message)):
        check_annotations(tmp_path / name, TABLE, VIDEOS)
    assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "%C3%BC.json").read_text() == "about the features"


def test_nothing_is_written_when_the_annotations_are_wrong(tmp_path):
    table = AnnotationTable(("x",), (Annotation("ü", (), ("train", "val")),))
    with pytest.raises(AnnotationError):
        write_annotations(tmp_path / "annotations.json", table, VIDEOS)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_created(tmp_path):
    write_annotations(tmp_path / "a/b/annotations.json", TABLE, VIDEOS)
    assert (tmp_path / "a/b/category_idx.txt").exists()


@pytest.mark.parametrize(
    ("annotation", "options", "message"),
    [
        (Annotation("ü", (), ("train", "val")), {}, "video 'ü' is in the subsets train, val"),
        (Annotation("ü", (), ("train",)), {"split": 2}, "no subset of split 2"),
        (Annotation("ü", (Label("a\nb"),), ()), {}, "cannot be a line of the class list"),
    ],
)
def test_wrong_labels_are_found_before_the_features_are_computed(
    tmp_path, annotation, options, message
):
    table = AnnotationTable(("a\nb",), (annotation,))
    with pytest.raises(FlowkitError, match=message):
        check_annotations(tmp_path / "a.json", table, ["ü"], AnnotationOptions(**options))
    if not options:  # it does not matter where the video is not among those that are computed
        check_annotations(tmp_path / "a.json", table, ["x"])
    check_annotations(tmp_path / "a.json", TABLE, ["ü", "x"])
