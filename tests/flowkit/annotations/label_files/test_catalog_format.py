"""The format ``list`` of the catalogue, and the shipped entries that use it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowkit.annotations import Annotation, Label
from flowkit.catalog import load_catalog
from flowkit.errors import CatalogError, FlowkitError

SHIPPED = Path(__file__).resolve().parents[4] / "datasets.yaml"
ENTRY = {
    "title": "Mine",
    "format": "list",
    "videos": ["mine/videos"],
    "annotations": ["mine"],
    "recipe": {"resize": {"mode": "short-side", "side": 256}, "flow": {}},
}
SOMETHING = [
    {"id": "1", "label": "holding a mug", "template": "Holding [something]", "placeholders": []},
    {"id": "2", "label": "dropping a pen", "template": "Dropping [something]", "placeholders": []},
]


def write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


FILES: dict[str, dict[str, str]] = {
    "something-something-v2": {
        "something-something-v2/20bn-something-something-v2/1.webm": "",
        "something-something-v2/20bn-something-something-v2/3.webm": "",
        "something-something-v2/labels/train.json": json.dumps(SOMETHING),
        "something-something-v2/labels/validation.json": json.dumps(SOMETHING[:0]) + "\n",
        "something-something-v2/labels/test.json": json.dumps([{"id": "3"}]),
        "something-something-v2/labels/labels.json": json.dumps(
            {"Dropping something": "0", "Holding something": "1"}
        ),
    },
    "jester": {
        # The videos are folders of frames, which the name of a video stands for here.
        "jester/20bn-jester-v1/34870.mp4": "",
        "jester/20bn-jester-v1/56557.mp4": "",
        "jester/annotations/jester-v1-train.csv": "34870;Drumming Fingers\n",
        "jester/annotations/jester-v1-test.csv": "56557\n",
        "jester/annotations/jester-v1-labels.csv": "Swiping Left\nDrumming Fingers\n",
    },
    "diving48": {
        "diving48/rgb/-mmq0PT-u8k_00155.mp4": "",
        "diving48/annotations/Diving48_V2_train.json": json.dumps(
            [{"vid_name": "-mmq0PT-u8k_00155", "label": 1, "start_frame": 0, "end_frame": 48}]
        ),
        "diving48/annotations/Diving48_vocab.json": json.dumps(
            [["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "15Twis", "FREE"]]
        ),
    },
    "moments-in-time": {
        "moments-in-time/training/running/a.mp4": "",
        "moments-in-time/validation/running/b.mp4": "",
        "moments-in-time/trainingSet.csv": "running/a.mp4,running,4,0\n",
        "moments-in-time/validationSet.csv": "running/b.mp4,running,10,2\n",
        "moments-in-time/moments_categories.txt": "clapping,0\nrunning,1\n",
    },
}
EXPECTED: dict[str, tuple[tuple[str, ...], list[Annotation]]] = {
    "something-something-v2": (
        ("Dropping something", "Holding something"),
        [
            Annotation("1", (Label("Holding something"),), ("train",), {"label": "holding a mug"}),
            Annotation(
                "2", (Label("Dropping something"),), ("train",), {"label": "dropping a pen"}
            ),
            Annotation("3", (), ("test",)),
        ],
    ),
    "jester": (
        ("Swiping Left", "Drumming Fingers"),
        [
            Annotation("34870", (Label("Drumming Fingers"),), ("train",), {"fps": "12"}),
            Annotation("56557", (), ("test",), {"fps": "12"}),
        ],
    ),
    "diving48": (
        ("Back 15som 05Twis FREE", "Back 15som 15Twis FREE"),
        [
            Annotation(
                "-mmq0PT-u8k_00155", (Label("Back 15som 15Twis FREE"),), ("train",),
                {"start_frame": "0", "end_frame": "48"},
            )
        ],
    ),
    "moments-in-time": (
        ("clapping", "running"),
        [
            Annotation("running/a.mp4", (Label("running"),), ("train",), {"3": "4", "4": "0"}),
            Annotation("running/b.mp4", (Label("running"),), ("val",), {"3": "10", "4": "2"}),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_shipped_entries_read_their_files(name: str, data: Path) -> None:
    files = FILES[name]
    if name == "something-something-v2":  # an empty list is an error, so leave this file out
        files = {path: text for path, text in files.items() if "validation" not in path}
    write_files(data, files)
    table, located = load_catalog(SHIPPED)[name].locate_videos()
    classes, annotations = EXPECTED[name]
    assert table.classes == classes
    assert list(table.annotations) == annotations
    is_on_disk = [annotation.id for annotation in annotations if annotation.id != "2"]
    assert [source.id for source in located.sources] == is_on_disk
    assert located.missing == (("2",) if name == "something-something-v2" else ())


def test_an_entry_of_ones_own(data: Path, tmp_path: Path) -> None:
    settings = {
        "files": ["labels_*.csv"],
        "columns": {"id": "clip", "label": 2},
        "classes": "names.txt",
        "file_template": "{id}_color.mp4",
    }
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"mine": ENTRY | {"list": settings}}))
    write_files(
        data / "mine",
        {
            "videos/x/1_color.mp4": "",
            "videos/x/1_depth.mp4": "",
            "labels_test.csv": "clip,gesture\n1,1\n2,0\n",
            "notes.csv": "not,labels\n",
        },
    )
    dataset = load_catalog(path)["mine"]
    with pytest.raises(FlowkitError, match=r"names\.txt: expected the list of classes"):
        dataset.locate_videos()
    (data / "mine" / "names.txt").write_text("stop\ngo\n")
    table, located = dataset.locate_videos()
    assert table.annotations == (
        Annotation("1", (Label("go"),), ("test",)),
        Annotation("2", (Label("stop"),), ("test",)),
    )
    assert [source.path.name for source in located.sources] == ["1_color.mp4"]
    assert located.missing == ("2",)
    assert [path.name for path in located.unannotated] == ["1_depth.mp4"]
    presence = dataset.detect_presence()
    assert (presence.found, presence.annotated, presence.missing) == (1, 2, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"list": {"file": []}}, "list: unknown key 'file'; did you mean 'files'?"),
        ({"list": {"files": "a"}}, "list: files: expected a list of strings, got 'a'"),
        ({"list": {"columns": ["a"]}}, "list: columns: expected columns by role as a mapping"),
        ({"list": {"columns": {"lable": "a"}}}, "list: columns: 'lable' is not something"),
        ({"list": {"classes": 3}}, "list: classes: expected a string, got 3"),
        ({"list": {"file_template": "{label}"}}, "list: file_template: expected {id} as the only"),
        ({"list": 3}, "list: expected files, columns, classes and file_template as a mapping"),
        ({"format": "ucf101", "list": {}}, "the key 'list' needs 'format: list'"),
    ],
)
def test_malformed_entries(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"mine": ENTRY | changes}))
    with pytest.raises(CatalogError) as raised:
        load_catalog(path)
    assert message in str(raised.value)


DATABASE = {"database": {"x": {"subset": "training", "annotations": []}}}


@pytest.mark.parametrize(
    ("name", "text", "video"),
    [
        ("activity_net.json", json.dumps(DATABASE), "v_x.mp4"),
        (
            "train.csv",
            "label,youtube_id,time_start,time_end,split\nrun,x,1,11,train\n",
            "x_000001_000011.mp4",
        ),
    ],
    ids=["ActivityNet", "Kinetics"],
)
def test_videos_have_the_names_that_their_format_gives_them(
    data: Path, tmp_path: Path, name: str, text: str, video: str
) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"mine": ENTRY | {"list": {"files": [name]}}}))
    write_files(data / "mine", {f"videos/{video}": "", name: text})
    table, located = load_catalog(path)["mine"].locate_videos()
    assert [annotation.id for annotation in table.annotations] == ["x"]
    assert [(source.id, source.path.name) for source in located.sources] == [("x", video)]
    assert located.missing == ()


@pytest.mark.parametrize(("template", "video"), [(None, "x.mp4"), ("{id}_clip.mp4", "x_clip.mp4")])
def test_clips_of_kinetics_may_have_other_names(
    data: Path, tmp_path: Path, template: str | None, video: str
) -> None:
    """Their times are not those of labels, since the files are the clips."""
    path = tmp_path / "datasets.yaml"
    settings = {} if template is None else {"list": {"file_template": template}}
    path.write_text(yaml.safe_dump({"mine": ENTRY | settings}))
    text = "label,youtube_id,time_start,time_end,split\nrun,x,1,11,train\n"
    write_files(data / "mine", {f"videos/{video}": "", "train.csv": text})
    table, located = load_catalog(path)["mine"].locate_videos()
    assert table.annotations[0].labels == (Label("run"),)
    assert [source.id for source in located.sources] == ["x"]
    assert located.missing == () == located.unannotated


def test_a_readme_is_no_label_file(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"mine": ENTRY}))
    files = {"videos/a.mp4": "", "README.txt": "About 1\n", "license.txt": "CC 0\n"}
    write_files(data / "mine", files | {"readme_train.csv": "id,label\na,run\n"})
    table, located = load_catalog(path)["mine"].locate_videos()
    assert table.annotations == (Annotation("a", (Label("run"),), ("train",)),)
    assert located.missing == ()
