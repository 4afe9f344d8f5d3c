"""Several label files at once, Parquet, files beside their videos, and the ids of a store."""

import gc
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowkit.annotations import Annotation, Label
from flowkit.annotations.label_files import (
    LabelOptions,
    annotate_ids,
    locate_labelled_videos,
    parse_columns,
    read_label_files,
)
from flowkit.annotations.label_files.columns import is_header
from flowkit.annotations.label_files.delimited import detect_delimiter
from flowkit.errors import AnnotationError, UsageError


def make_videos(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_files_of_subsets(tmp_path: Path) -> None:
    root = make_videos(tmp_path / "videos", "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    texts = {
        "x-train.csv": "a;Jump\nb;Run\n",
        "x-validation.csv": "b;Run\nc;Run\n",
        "x-test.csv": "d\n",
    }
    paths = [tmp_path / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    options = LabelOptions(columns={"id": "1", "label": "2"})
    found = locate_labelled_videos(root, read_label_files(paths, options))
    assert found.table.annotations == (
        Annotation("a.mp4", (Label("Jump"),), ("train",)),
        Annotation("b.mp4", (Label("Run"),), ("train", "val")),
        Annotation("c.mp4", (Label("Run"),), ("val",)),
        Annotation("d.mp4", (), ("test",)),
    )
    assert found.report[0] == (
        "x-train.csv, x-validation.csv, x-test.csv: 5 rows (CSV with semicolons, a list): id from "
        "column 1, label from column 2 (2 classes), subset from the name of the file (train, val, "
        "test)"
    )
    with pytest.raises(UsageError, match="no column '3' for label"):
        read_label_files(paths, LabelOptions(columns={"id": "1", "label": "3"}))
    with pytest.raises(UsageError, match="at least one label file"):
        read_label_files([])


@pytest.mark.parametrize(
    ("text", "columns", "id", "label"),
    [
        ("jump,a.mp4\nrun,b.mp4\n", {"id": "2"}, "a.mp4", "jump"),
        ("jump,a.mp4\nrun,b.mp4\n", {"label": "1"}, "a.mp4", "jump"),
        ("a.mp4,val\nb.mp4,test\n", {"subset": "2"}, "a.mp4", None),
    ],
)
def test_columns_that_are_not_given_are_others(
    tmp_path: Path, text: str, columns: dict[str, str], id: str, label: str | None
) -> None:
    (tmp_path / "labels.csv").write_text(text)
    listing = read_label_files([tmp_path / "labels.csv"], LabelOptions(columns=columns))
    assert listing.names[0] == id
    assert [found.name for found in listing.labels[0]] == ([] if label is None else [label])


def test_a_taken_column_names_no_videos(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("jump,a.mp4,3\nrun,b.mp4,4\n")
    with pytest.raises(AnnotationError, match="no column names the videos"):
        read_label_files([tmp_path / "labels.csv"], LabelOptions(columns={"label": "1"}))


def test_a_frame_rate_is_not_the_number_of_a_column() -> None:
    others = [["a.mp4", "jump", "3"], ["b.mp4", "run", "4"]]
    assert is_header(["clip", "gesture", "x"], others, {"fps": "25"})
    assert not is_header(["c.mp4", "sit", "5"], others, {"fps": "3"})


def test_metadata_beside_the_videos(tmp_path: Path) -> None:
    root = make_videos(tmp_path, "train/0.mp4", "test/0.mp4", "0.mp4")
    for subset in ("train", "test"):
        line = json.dumps({"file_name": "0.mp4", "label": subset})
        (root / subset / "metadata.jsonl").write_text(line)
    found = locate_labelled_videos(root, read_label_files([root / "train/metadata.jsonl"]))
    annotation = Annotation("train/0.mp4", (Label("train"),), ("train",))
    assert found.table.annotations == (annotation,)
    assert found.located.unannotated == (root / "0.mp4", root / "test/0.mp4")


def test_the_folder_of_a_label_file_keeps_its_dots(tmp_path: Path) -> None:
    root = make_videos(tmp_path, "meta/0.mp4", "set1/0.mp4")
    for folder in (".meta", "set1."):
        (root / folder).mkdir()
        path = root / folder / "labels.csv"
        path.write_text("id,label\n0.mp4,run\n")
        with pytest.raises(AnnotationError, match="1 listed name fits several videos"):
            locate_labelled_videos(root, read_label_files([path]))


def test_parquet(tmp_path: Path) -> None:
    root = make_videos(tmp_path / "videos", "a.mp4", "b.mp4")
    video = pa.array(
        [{"bytes": b"", "path": "a.mp4"}, {"bytes": b"", "path": "b.mp4"}],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    table = pa.table(
        {
            "video": video,
            "label": pa.array([1, 0]),
            "person": pa.array(["p", None]).dictionary_encode(),
            "thumbnail": pa.array([b"x", b"y"]),
        }
    )
    names = {"info": {"features": {"label": {"names": ["jump", "run"]}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
    path = tmp_path / "data.parquet"
    pq.write_table(table, path)
    found = locate_labelled_videos(root, read_label_files([path]))
    assert found.table.classes == ("jump", "run")
    assert found.table.annotations == (
        Annotation("a.mp4", (Label("run"),), (), {"person": "p"}),
        Annotation("b.mp4", (Label("jump"),), ()),
    )
    # Names belong to their columns; labels may be lists, written in two ways.
    table = pa.table({"id": ["a", "b"], "label": [0, 1], "verb": [[1], [0, 1]], "noun": [[0], [1]]})
    features = {
        "label": {"names": ["no", "yes"]},
        "verb": {"feature": {"names": ["push", "pull"]}},
        "noun": [{"names": ["cup", "lid"]}],
    }
    text = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), path)
    for column, expected in (
        ("label", [["no"], ["yes"]]),
        ("verb", [["pull"], ["push", "pull"]]),
        ("noun", [["cup"], ["lid"]]),
    ):
        listing = read_label_files([path], LabelOptions(columns={"label": column}))
        assert [[label.name for label in labels] for labels in listing.labels] == expected
    pq.write_table(pa.table({"id": ["a"], "label": [["x", "y"]], "fps": [25.0]}), path)
    found = locate_labelled_videos(root, read_label_files([path]))
    expected = Annotation("a.mp4", (Label("x"), Label("y")), (), {"fps": "25"})
    assert found.table.annotations == (expected,)
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(AnnotationError, match="but the file is empty"):
        read_label_files([path])
    pq.write_table(pa.table({"x": [b"1"]}), path)
    with pytest.raises(AnnotationError, match="expected columns of text or numbers, got x"):
        read_label_files([path])


def test_what_does_not_fit_is_counted_and_listed(tmp_path: Path) -> None:
    videos = ["v/a.mp4", "v/b.mp4", "w/b.mp4", "x.mp4", *(f"more/{n}.mp4" for n in range(5))]
    root = make_videos(tmp_path / "videos", *videos)
    path = tmp_path / "labels.csv"
    path.write_text("id,label\na,1\nb,1\ngone,2\nx,1\nx.avi,1\ngone2,2\nd,\n")
    found = locate_labelled_videos(root, read_label_files([path]))
    assert found.report[1] == "1 of 7 listed videos found: 1 by file name without extension"
    assert found.report[2] == (
        "3 listed videos were not found: gone, gone2, d; 5 videos are not listed and left out: "
        "more/0.mp4, more/1.mp4, more/2.mp4, …; 1 listed name fits several videos, which are left "
        "out: b; 1 video fits several listed names and is left out: x.mp4"
    )
    located = found.located
    assert [source.id for source in located.sources] == ["v/a.mp4"]
    assert located.missing == ("gone", "gone2", "d")
    assert len(located.unannotated) == 5
    assert {video.id: video.reason for video in located.rejected} == {
        "v/b.mp4": f"v/b.mp4: {path}:3: 'b' may be any of 2 videos; write the path of the video",
        "w/b.mp4": f"w/b.mp4: {path}:3: 'b' may be any of 2 videos; write the path of the video",
        "x.mp4": f"x.mp4: {path}:6: 2 rows may mean this video ('x' and 'x.avi'); write the path "
        "of each video",
    }
    # All classes of the file are there, so that class ids do not depend on the videos on disk.
    assert found.table.classes == ("1", "2")


def test_clips_of_kinetics(tmp_path: Path) -> None:
    root = make_videos(tmp_path / "videos", "run/ABCDEFGHIJK_000001_000011.mp4")
    path = tmp_path / "train.csv"
    path.write_text("label,youtube_id,time_start,time_end,split\nrun,ABCDEFGHIJK,1,11,train\n")
    found = locate_labelled_videos(root, read_label_files([path]))
    # The file is the clip, so the label holds for all of it.
    annotation = Annotation("run/ABCDEFGHIJK_000001_000011.mp4", (Label("run"),), ("train",))
    assert found.table.annotations == (annotation,)
    assert "each file a clip named id_start_end" in found.report[0]


@pytest.mark.parametrize(
    ("lines", "preferred", "delimiter"),
    [
        (["a, b\tjump", "c, d\trun"], "\t", "\t"),
        (["42;Put, take", "43;Jump, land"], None, ";"),
        (["x;y|id,label", "a;b|1,2"], None, ";"),
        (["note;1,id", "a;b,c"], None, ","),
        (["a,b", "c", "d", "e"], None, None),
        (["a,b", "c,d", "e,f", "g"], None, ","),
        (["a"], None, None),
        ([], None, None),
    ],
)
def test_which_delimiter_is_recognized(
    lines: list[str], preferred: str | None, delimiter: str | None
) -> None:
    assert detect_delimiter(lines, preferred) == delimiter


def test_the_garbage_collector_is_on_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,label\na,1\n")
    assert gc.isenabled()
    read_label_files([path])
    assert gc.isenabled()
    with pytest.raises(AnnotationError):
        read_label_files([tmp_path / "gone.csv"])
    assert gc.isenabled()


def test_a_video_of_several_rows_counts_once_as_not_found(tmp_path: Path) -> None:
    path = tmp_path / "segments.csv"
    path.write_text("id,label,start,end\ngone,x,0,1\ngone,y,2,3\na,x,0,1\na,y,1,2\n")
    found = locate_labelled_videos(make_videos(tmp_path / "v", "a.mp4"), read_label_files([path]))
    assert found.report[0].startswith("segments.csv: 4 rows (")
    assert found.report[1].startswith("1 of 2 listed videos found: ")
    assert found.report[2] == "1 listed video was not found: gone"


def test_every_row_and_video_fits(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,label\na,1\n")
    found = locate_labelled_videos(make_videos(tmp_path / "v", "a.mp4"), read_label_files([path]))
    assert found.report[2] == "every row has a video, and every video a row"


def test_ids_of_a_store(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,label,split,person\na.mp4,run,train,p\nb,jump,test,q\nc,run,test,q\n")
    listing = read_label_files([path])
    table, report = annotate_ids(["x/b.avi", "x/a.mp4", "d"], listing)
    assert table.annotations == (
        Annotation("x/a.mp4", (Label("run"),), ("train",), {"person": "p"}),
        Annotation("x/b.avi", (Label("jump"),), ("test",), {"person": "q"}),
    )
    assert report[2] == "1 listed video was not found: c; 1 video of the store is not listed: d"
    with pytest.raises(AnnotationError, match="no row has a video in the store"):
        annotate_ids(["d"], listing)
    with pytest.raises(AnnotationError, match="1 video of the store is not listed: d"):
        annotate_ids(["d", "x/b.avi", "y/b.avi"], listing)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id", "expected --columns ROLE=COLUMN,… such as id=clip, got 'id'"),
        ("id=", "got 'id='"),
        ("id=a,id=b", "--columns names a column for id twice"),
    ],
)
def test_malformed_columns(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_columns(text)


def test_columns() -> None:
    assert parse_columns(" id = my clip, label=2,") == {"id": "my clip", "label": "2"}
    assert parse_columns(None) == {}
    with pytest.raises(UsageError, match=r"'lable' is not .* did you mean label"):
        LabelOptions(columns={"lable": "x"})
    with pytest.raises(UsageError, match="expected the name of a column for id"):
        LabelOptions(columns={"id": ""})
