"""--labels of `flowkit extract` and `flowkit index`, and labels of `flowkit.extract`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import flowkit
from flowkit.annotations import Label
from flowkit.cli import main
from flowkit.errors import AnnotationError, UsageError
from flowkit.store import Store
from flowkit.store.annotations import read_annotations

SMALL = ("--size", "32x32", "--streams", "rgb", "--workers", "0")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run("extract", …)`` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def videos(tmp_path, make_clip):
    for name in ("wave/1.mp4", "wave/2.mp4", "3.mp4", "4.mp4"):
        make_clip(tmp_path / "v" / name)
    return tmp_path / "v"


def test_extract_and_index(run, videos, tmp_path):
    Path("labels.csv").write_text(
        "clip,gesture,split,person\n1,stop,train,p\n2,go,val,q\n2,up,val,q\n3,go,train,p\n9,go,val,r\n"
    )
    columns = ("--columns", "id=clip,label=gesture")
    command = ("extract", "--videos", "v", "--labels", "labels.csv", *columns, "--store", "S")
    result = run(*command, *SMALL)
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert lines[:3] == [
        "labels.csv: 5 rows (CSV with commas): id from `clip`, label from `gesture` (3 classes), "
        "subset from `split`, attributes `person`",
        "3 of 4 listed videos found: 1 by path without extension, 2 by file name without "
        "extension; subsets train 2, val 1",
        "1 listed video was not found: 9; 1 video is not listed and left out: 4.mp4",
    ]
    assert "3  videos extracted" in result.stdout
    assert "1  annotated but missing on disk" in result.stdout
    assert "1  on disk without annotation" in result.stdout
    store = Store("S")
    assert list(store) == ["3.mp4", "wave/1.mp4", "wave/2.mp4"]
    # The labels of the file replace those of the folders.
    assert store.classes == ("go", "stop", "up")
    assert store["wave/1.mp4"].labels == (Label("stop"),)
    assert store["wave/2.mp4"].labels == (Label("go"), Label("up"))
    assert store["wave/2.mp4"].subsets == ("val",)
    table = read_annotations("S")
    assert table is not None
    assert table.by_id()["3.mp4"].attributes == {"person": "p"}

    Path("better.json").write_text('{"wave/1": "down", "3.mp4": "down", "2": "go"}')
    result = run("index", "S", "--labels", "better.json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        "better.json: 3 rows (JSON by video): id from the keys, label from `labels` (2 classes), "
        "no subset column",
        "3 of 3 listed videos found: 1 by path, 1 by path without extension, 1 by file name "
        "without extension",
        "every row has a video, and every video a row",
    ]
    store = Store("S")
    assert store.classes == ("down", "go")
    assert store["wave/1.mp4"].labels == (Label("down"),)
    # The new file says nothing about subsets and attributes, so these stay.
    assert store["wave/1.mp4"].subsets == ("train",)
    table = read_annotations("S")
    assert table is not None
    assert table.by_id()["3.mp4"].attributes == {"person": "p"}


def test_one_subset(run, videos):
    for subset, text in {"train": "1;a\n3;a\n8;b\n", "test": "2;b\n9;b\n"}.items():
        Path(f"{subset}.csv").write_text(text)
    files = ("--labels", "train.csv", "--labels", "test.csv")
    command = ("extract", "--videos", "v", *files, "--store", "S", *SMALL)
    result = run(*command, "--subset", "test", "--json")
    assert result.exit_code == 0, result.output
    assert list(Store("S")) == ["wave/2.mp4"]
    assert '"missing": ["9"]' in result.stdout
    assert "the annotations have test, train" in run(*command, "--subset", "val").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--labels", "l.csv"), 2, "name what to extract"),
        (("a.mp4", "--store", "S", "--labels", "l.csv"), 2, "--labels needs --videos DIR"),
        (("--videos", "v", "--columns", "id=a"), 2, "describe a label file; give it with --labels"),
        (("--videos", "v", "--labels", "gone.csv"), 1, "gone.csv: cannot be read"),
        (("--videos", "v", "--labels", "l.csv", "--columns", "id"), 2, "ROLE=COLUMN"),
        (("--videos", "v", "--labels", "l.csv"), 1, "Its columns are clip, gesture, x."),
        (("--videos", "v", "--labels", "l.csv", "--columns", "id=clip,label=x"), 1,
         "no row has a video below v: the file has '7', and the videos are '3.mp4', '4.mp4', "
         "'wave/1.mp4', …"),
        (("--videos", "v", "--labels", "l.csv", "--columns", "id=clip,label=x", "--file-template",
          "{clop}.mp4"), 2, "l.csv has no column 'clop'"),
        (("--videos", "v", "--labels", "l.csv", "--columns", "id=clip,label=x", "--classes",
          "gone.txt"), 1, "gone.txt: cannot be read"),
    ],
)  # fmt: skip
def test_wrong_options_write_nothing(run, videos, arguments, code, message):
    Path("l.csv").write_text("clip,gesture,x\n7,jump,1\n")
    result = run("extract", *arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not Path("S").exists()
    assert not Path("stores").exists()


def test_index_refuses_several_sources(run, make_store):
    Path("l.csv").write_text("id,label\na,x\n")
    root = make_store()
    wrong = run("index", root, "--labels", "l.csv", "--dataset", "ucf101")
    assert wrong.exit_code == 2
    assert "give --labels, --dataset or --annotations" in wrong.stderr


@pytest.mark.parametrize(
    "option", [("--format", "ucf101"), ("--variant", "600"), ("--catalog", "datasets.yaml")]
)
def test_index_refuses_options_of_other_sources(run, make_store, option):
    Path("l.csv").write_text("id,label\na,x\n")
    Path("datasets.yaml").write_text("{}")
    wrong = run("index", make_store(), "--labels", "l.csv", *option)
    assert wrong.exit_code == 2
    assert f"{option[0]} " in wrong.stderr


def test_index_replaces_broken_annotations_by_those_of_a_label_file(run, make_store):
    Path("l.csv").write_text("id,label\na,x\n")
    root = make_store()
    (root / "annotations.arrow").write_bytes(b"broken")
    assert "index S --labels FILE" in run("index", root).stderr
    result = run("index", root, "--labels", "l.csv")
    assert result.exit_code == 0, result.output
    assert "the stored annotations are replaced" in result.stderr
    assert Store(root)["a"].labels == (Label("x"),)


def test_index_writes_no_annotations_to_a_store_that_lacks_a_shard(run, make_store):
    Path("l.csv").write_text("id,label\na,x\n")
    root = make_store()
    before = (root / "annotations.arrow").read_bytes()
    next(root.glob("frames/*.arrow")).unlink()
    result = run("index", root, "--labels", "l.csv")
    assert result.exit_code == 1, result.output
    assert (root / "annotations.arrow").read_bytes() == before


def test_from_python(videos, tmp_path, capsys):
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"clip": "1", "n": 1}\n{"clip": "2", "n": 0}\n')
    classes = tmp_path / "classes.txt"
    classes.write_text("stop\ngo\n")
    options = {"streams": ["rgb"], "size": (32, 32), "workers": 0}
    columns = {"id": "clip", "label": "n"}
    summary = flowkit.extract(
        videos, tmp_path / "S", labels=labels, columns=columns, classes=classes,
        file_template="wave/{id}.mp4", **options,
    )  # fmt: skip
    assert summary.extracted == 2
    assert "labels.jsonl: 2 rows (JSON lines): id from `clip`" in capsys.readouterr().err
    store = flowkit.Store(tmp_path / "S")
    assert [label.name for label in store["wave/1.mp4"].labels] == ["go"]
    with pytest.raises(UsageError, match="labels needs videos to be one folder"):
        flowkit.extract([videos], tmp_path / "T", labels=labels, **options)
    with pytest.raises(UsageError, match="give labels too"):
        flowkit.extract(videos, tmp_path / "T", columns=columns, **options)
    with pytest.raises(AnnotationError, match="no column names the videos"):
        flowkit.extract(videos, tmp_path / "T", labels=[labels], **options)
    assert not (tmp_path / "T").exists()
