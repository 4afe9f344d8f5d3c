"""The folder as ActionFormer and OpenTAD read it, from label files to rows.

The replicas of their loaders were compared with the loaders themselves, outside of this repository,
on 150 folders with random windows and segments: all 6,300 videos that were read were equal.
"""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.annotations import charades
from flowkit.annotations.label_files import (
    LabelOptions,
    annotate_ids,
    locate_labelled_videos,
    read_label_files,
)
from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.interchange.activitynet import (
    AnnotationOptions,
    VideoFacts,
    describe_annotations,
    describe_loader_settings,
    write_annotations,
)
from flowkit.interchange.file_names import encode_id
from tests.flowkit.interchange.activitynet.localization_loaders import (
    load_actionformer_anet,
    load_actionformer_thumos,
    load_opentad_padding,
    load_opentad_resize,
    read_class_map,
    read_database,
)

CHANNELS = 8


@dataclass(frozen=True)
class Windows:
    """Windows of frames, whose number in row r is the value of the features of row r."""

    fps: float
    frames: int
    length: int
    stride: int
    centred: bool = False

    @property
    def duration(self):
        return self.frames / self.fps

    @property
    def first_frame(self):
        return -(self.length // 2) if self.centred else 0

    @property
    def rows(self):
        if self.centred:
            return -(-self.frames // self.stride)
        return max(0, self.frames - self.length) // self.stride + 1

    def times(self):
        """Return start and end of each window in seconds, as the JSON beside the features."""
        starts = self.first_frame + self.stride * np.arange(self.rows)
        return np.stack([starts, starts + self.length], 1) / self.fps

    def settings(self):
        """Return feat_stride, num_frames and offset_frames that we tell the user."""
        actionformer, opentad = describe_loader_settings(
            window=self.length, stride=self.stride, first_frame=self.first_frame,
            channels=CHANNELS, classes=1, subsets=["training"],
        )  # fmt: skip
        find = re.search
        return (
            int(find(r"feat_stride: (\d+)", actionformer)[1]),
            int(find(r"num_frames: (-?\d+)", actionformer)[1]),
            int(find(r"offset_frames=(-?\d+)", opentad)[1]),
        )


def write_features(folder, table, windows, **options):
    """Write features of every video of the table, and the annotations."""
    folder.mkdir(exist_ok=True)
    facts = {}
    for annotation in table.annotations:
        file = f"{encode_id(annotation.id)}.npy"
        rows = np.arange(windows.rows, dtype=np.float32)
        np.save(folder / file, np.repeat(rows[:, None], CHANNELS, 1))
        facts[annotation.id] = VideoFacts(windows.duration, windows.fps, file)
    path = folder / "annotations.json"
    return path, write_annotations(path, table, facts, AnnotationOptions(**options))


def make_table(*labels, id="a", subset="train"):
    classes = tuple(sorted({label.name for label in labels}))
    return AnnotationTable(classes, (Annotation(id, labels, (subset,)),))


def list_rows(segment, rows):
    """Return the rows within a segment, and those so close to its ends that rounding decides."""
    inside = {r for r in range(rows) if segment[0] <= r <= segment[1]}
    unclear = {r for r in range(rows) if min(abs(r - segment[0]), abs(r - segment[1])) < 0.02}
    return inside, unclear


window_plans = st.builds(
    Windows,
    fps=st.sampled_from([12.0, 24.0, 25.0, 30000 / 1001, 30.0, 60.0]),
    frames=st.integers(2, 2000),
    length=st.integers(1, 64),
    stride=st.integers(1, 32),
    centred=st.booleans(),
)


@given(window_plans, st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_segment_covers_the_rows_whose_windows_have_their_middle_in_it(
    tmp_path_factory, windows, shares
):
    start, end = (share * windows.duration for share in sorted(shares))
    if end - start < 0.01:
        return
    folder = tmp_path_factory.mktemp("x")
    path, _ = write_features(folder, make_table(Label("jump", start, end)), windows)
    stride, num_frames, offset_frames = windows.settings()
    middles = windows.times().mean(1)
    expected = {r for r, middle in enumerate(middles) if start <= middle <= end}

    thumos = {"stride": stride, "num_frames": num_frames, "num_classes": 1}
    loaded = [
        load_actionformer_thumos(folder, path, ["training"], **thumos),
        load_actionformer_anet(folder, path, ["training"], **thumos),
    ]
    if num_frames % 2 == 0:  # otherwise OpenTAD, which knows whole frames, is half a frame off
        opentad = {"stride": stride, "offset_frames": offset_frames, "in_frames": False}
        loaded += [
            load_opentad_padding(folder, path, "training", **opentad, fps=windows.fps),
        ]
    for (item,) in loaded:
        assert len(item.features) == windows.rows
        rows, unclear = list_rows(item.segments[0], windows.rows)
        assert rows - unclear == expected - unclear

    # OpenTAD's rate is that of whole frames in the duration, and for THUMOS it rounds down.
    options = {"stride": stride, "offset_frames": offset_frames}
    exact = (np.array([start, end]) * windows.fps - num_frames / 2) / stride
    for in_frames in (True, False):
        (item,) = load_opentad_padding(folder, path, "training", **options, in_frames=in_frames)
        assert np.abs(item.segments[0] - exact).max() * stride < 2.01
        assert item.fps == pytest.approx(windows.fps)


@pytest.mark.parametrize("centred", [False, True])
def test_whole_windows_are_at_the_middle_of_their_row(tmp_path, centred):
    windows = Windows(fps=25, frames=100, length=16, stride=4, centred=centred)
    labels = [Label(f"row {r:02}", *map(float, bounds)) for r, bounds in enumerate(windows.times())
              if bounds[0] >= 0 and bounds[1] <= windows.duration]  # fmt: skip
    path, report = write_features(tmp_path, make_table(*labels), windows)
    assert not report.problems.cut
    stride, num_frames, offset_frames = windows.settings()
    assert (stride, num_frames, offset_frames) == ((4, 0, 0) if centred else (4, 16, 8))
    (former,) = load_actionformer_thumos(
        tmp_path, path, ["training"], stride=4, num_frames=num_frames, num_classes=len(labels)
    )
    (opentad,) = load_opentad_padding(
        tmp_path, path, "training", stride=4, offset_frames=offset_frames
    )
    rows = [int(label.name[4:]) for label in labels]
    for item in (former, opentad):
        assert item.segments.mean(1) == pytest.approx(rows, abs=0.3 if item is opentad else 1e-4)
        assert list(item.labels) == list(range(len(labels)))


def test_resized_features_span_the_duration(tmp_path):
    windows = Windows(fps=25, frames=1600, length=16, stride=16)  # 64 s
    path, _ = write_features(tmp_path, make_table(Label("jump", 16.0, 32.0)), windows)
    options = {"stride": 16, "num_frames": 16, "num_classes": 1}
    (item,) = load_actionformer_anet(tmp_path, path, ["training"], **options, length=192)
    assert item.segments[0] == pytest.approx([48 - 0.5, 96 - 0.5], abs=1e-3)
    options |= {"stride": 0}  # features that all have as many rows
    (item,) = load_actionformer_anet(tmp_path, path, ["training"], **options)
    assert item.segments[0] == pytest.approx([25 - 0.5, 50 - 0.5], abs=1e-3)
    (item,) = load_opentad_resize(tmp_path, path, "training")
    assert (item.segments[0] / item.duration).tolist() == [0.25, 0.5]


@settings(max_examples=40)
@given(window_plans, st.lists(st.tuples(st.floats(-5, 300), st.floats(-5, 300)), min_size=1))
def test_no_segment_stops_the_training_of_actionformer(tmp_path_factory, windows, bounds):
    """Its loader needs a segment that is not mostly outside of the features."""
    folder = tmp_path_factory.mktemp("x")
    # One segment in the features; the others are anywhere.
    times = windows.times()
    middle = float(times[len(times) // 2].mean())
    if not 0.01 < middle < windows.duration:
        return
    labels = [Label("jump", 0.0, middle), *(Label("run", *pair) for pair in bounds)]
    path, report = write_features(folder, make_table(*labels), windows)
    stride, num_frames, _ = windows.settings()
    (item,) = load_actionformer_anet(
        folder, path, ["training"], stride=stride, num_frames=num_frames,
        num_classes=len(report.classes), training=True,
    )  # fmt: skip
    assert (item.segments[:, 1] > item.segments[:, 0]).all()
    problems = report.problems
    left_out = [problems.outside, problems.reversed, problems.short, problems.incomplete]
    entries = read_database(path)["a"]["annotations"]
    assert len(entries) + sum(map(len, left_out)) <= len(labels)  # fewer where labels are equal


CSV_ROWS = """\
video,class,start,end,split
a.mp4,run,1.5,4,train
a.mp4,jump,2,3.25,train
b.mp4,jump,0,12,val
x/c d.mp4,run,0:05.5,0:09,test
e.mp4,,,,val
f.mp4,jump,99,100,training
"""
FACTS = {
    "a.mp4": VideoFacts(10.0, 25.0, "a.mp4.npy"),
    "b.mp4": VideoFacts(12.0, 25.0, "b.mp4.npy"),
    "e.mp4": VideoFacts(8.0, 25.0, "e.mp4.npy"),
    "f.mp4": VideoFacts(8.0, 25.0, "f.mp4.npy"),
    "x/c d.mp4": VideoFacts(30.0, 30000 / 1001, "x%2Fc%20d.mp4.npy"),
}


@pytest.fixture
def folder(tmp_path):
    """Make a folder of features from a label file and videos."""
    (tmp_path / "labels.csv").write_text(CSV_ROWS)
    out = tmp_path / "feats"
    out.mkdir()
    for id, facts in FACTS.items():
        video = tmp_path / "videos" / id
        video.parent.mkdir(parents=True, exist_ok=True)
        video.touch()
        rows = int((facts.duration * facts.fps - 16) // 4 + 1)
        np.save(out / facts.file, np.zeros((rows, CHANNELS), np.float32))
    listing = read_label_files([tmp_path / "labels.csv"])
    table = locate_labelled_videos(tmp_path / "videos", listing).table
    report = write_annotations(out / "annotations.json", table, FACTS)
    assert describe_annotations("annotations.json", report) == [
        "annotations.json: 4 videos (testing 1, training 1, validation 2), 4 segments of 2 classes",
        "1 video without segments in validation, kept: e.mp4",
        "1 segment left out, since it is outside of its video: f.mp4 (99 to 100 s)",
        "1 training video left out, since it has no segment: f.mp4",
    ]
    return out


def test_a_label_file_arrives_in_both_loaders(folder):
    path = folder / "annotations.json"
    options = {"stride": 4, "num_frames": 16, "num_classes": 2}
    seen = {}
    for split in ("training", "validation", "testing"):
        for item in load_actionformer_thumos(folder, path, [split], **options):
            seen[item.key] = split
            if item.segments is not None:
                seconds = (item.segments + 2) * 4 / item.fps
                seen[item.key] = split, seconds.round(4).tolist(), item.labels.tolist()
    assert seen == {
        "a.mp4": ("training", [[1.5, 4.0], [2.0, 3.25]], [1, 0]),
        "b.mp4": ("validation", [[0.0, 12.0]], [0]),
        "e.mp4": "validation",
        "x%2Fc%20d.mp4": ("testing", [[5.5, 9.0]], [1]),
    }
    for split, keys in {"training": ["a.mp4"], "validation": ["b.mp4"]}.items():
        items = load_opentad_padding(folder, path, split, stride=4, offset_frames=8)
        assert [item.key for item in items] == keys
    (item,) = load_opentad_padding(folder, path, "testing", stride=4, offset_frames=8)
    assert item.segments * 4 + 8 == pytest.approx(np.array([[5.5, 9.0]]) * 29.97, abs=1.5)


def test_the_files_that_opentad_names(folder):
    path = folder / "annotations.json"
    assert (folder / "missing_files.txt").read_bytes() == b""
    class_map = read_class_map(path, folder / "category_idx.txt")
    assert class_map == ["jump", "run"] == read_class_map(path, folder / "absent.txt")
    for entry in read_database(path).values():
        for action in entry["annotations"]:
            assert class_map.index(action["label"]) == action["label_id"]


def test_every_key_is_the_name_of_a_feature_file(folder):
    assert sorted(read_database(folder / "annotations.json")) == sorted(
        path.stem for path in folder.glob("*.npy") if path.stem != "f.mp4"
    )


def test_a_subset_is_no_part_of_another_ones_name(tmp_path):
    """OpenTAD takes a video whose subset is a part of the subset that its configuration names."""
    subsets = {"a": "train", "b": "val", "c": "test", "d": None}
    labels = (Label("jump", 0.0, 1.0),)
    table = AnnotationTable(
        ("jump",), tuple(Annotation(id, labels, (s,) if s else ()) for id, s in subsets.items())
    )
    path, _ = write_features(tmp_path, table, Windows(25, 100, 16, 4))
    for subset, key in (("training", "a"), ("validation", "b"), ("testing", "c")):
        items = load_opentad_padding(tmp_path, path, subset, stride=4, offset_frames=8)
        assert [item.key for item in items] == [key]


times = st.floats(0, 50).map(lambda t: round(t, 3))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["run", "jump", "é, ü"]), times, times),
        min_size=1,
    )
)
def test_our_own_reader_reads_the_annotations_back(tmp_path_factory, rows):
    tmp_path = tmp_path_factory.mktemp("x")
    labels = {"a": [], "b": []}
    for id, name, *bounds in rows:
        label = Label(name, *sorted(bounds))
        if label.end - label.start > 0.002 and label not in labels[id]:
            labels[id].append(label)
    classes = sorted({label.name for entry in labels.values() for label in entry})
    if not classes:
        return
    table = AnnotationTable(
        tuple(classes), tuple(Annotation(id, tuple(labels[id]), ("val",)) for id in "ab")
    )
    path, _ = write_features(tmp_path, table, Windows(25, 1250, 16, 4))
    read, _ = annotate_ids(["a", "b"], read_label_files([path]))
    assert read.classes == table.classes
    for mine, theirs in zip(table.annotations, read.annotations, strict=True):
        assert (mine.labels, mine.subsets) == (theirs.labels, theirs.subsets)


def test_charades(shared_data, tmp_path):
    header = (shared_data / "annotations/charades/sample.csv").read_text()
    (tmp_path / "Charades_v1_train.csv").write_text(header)
    (tmp_path / "Charades_v1_test.csv").write_text(
        "id,actions,length\nBBBBB,c000 3.0 31.5;c156 30.5 31;c147 9 8,30\nCCCCC,,12\n"
    )
    table = charades.read_table(tmp_path)
    path, report = write_features(tmp_path / "feats", table, Windows(24, 720, 16, 8))  # 30 s
    assert describe_annotations(path.name, report) == [
        "annotations.json: 3 videos (testing 2, training 1), 3 segments of 3 classes",
        "1 segment was cut, since it leaves its video: BBBBB (3 to 31.5 s)",
        "1 video without segments in testing, kept: CCCCC",
        "1 segment left out, since it is outside of its video: BBBBB (30.5 to 31 s)",
        "1 segment left out, since it ends before it begins: BBBBB (9 to 8 s)",
        "154 classes left out, since they have no segments: c001, c002, c003, …",
    ]
    options = {"stride": 8, "num_frames": 16, "num_classes": 3}
    (train,) = load_actionformer_thumos(path.parent, path, ["training"], **options)
    assert (train.segments + 1) * 8 / 24 == pytest.approx(np.array([[11.9, 21.2], [0.0, 12.6]]))
    assert list(train.labels) == [1, 2]  # c000, c092, c147
    (test, empty) = load_actionformer_thumos(path.parent, path, ["testing"], **options)
    assert (test.segments + 1) * 8 / 24 == pytest.approx(np.array([[3.0, 30.0]]))
    assert empty.segments is None


THUMOS = [("video_validation_0000266", "BaseballPitch", 72.8, 76.4, "validation"),
          ("video_validation_0000266", "CliffDiving", 80.0, 83.5, "validation"),
          ("video_test_0000004", "CliffDiving", 1.4, 2.3, "test")]  # fmt: skip


def write_thumos_json(path):
    database = {}
    for id, name, start, end, subset in THUMOS:
        entry = {"subset": subset.title(), "duration": 100.5, "fps": 30.0, "annotations": []}
        database.setdefault(id, entry)["annotations"].append(
            {"label": name, "segment": [start, end], "segment(frames)": [30 * start, 30 * end],
             "label_id": 0}
        )  # fmt: skip
    path.write_text(json.dumps({"version": "Thumos14-30fps", "database": database}))


def write_thumos_csv(path):
    rows = [
        f"{id},{name},7,{start},{end},{30 * start:.0f},{30 * end:.0f},{subset}"
        for id, name, start, end, subset in THUMOS
    ]
    header = "video,type,type_idx,start,end,startFrame,endFrame,subset"
    path.write_text("\n".join([header, *rows]) + "\n")


def write_thumos_frames(path):
    rows = [
        f"{id},{name},{30 * start:.0f},{30 * end:.0f},{subset}"
        for id, name, start, end, subset in THUMOS
    ]
    path.write_text("\n".join(["video,class,start_frame,end_frame,subset", *rows]) + "\n")


@pytest.mark.parametrize(
    ("write", "columns"),
    [
        (write_thumos_json, {}),
        (write_thumos_csv, {"label": "type"}),
        (write_thumos_frames, {"fps": "30"}),
    ],
)
def test_label_files_of_thumos(tmp_path, write, columns):
    write(tmp_path / "thumos")
    (tmp_path / "videos").mkdir()
    for id in {row[0] for row in THUMOS}:
        (tmp_path / f"videos/{id}.mp4").touch()
    listing = read_label_files([tmp_path / "thumos"], LabelOptions(columns=columns))
    table = locate_labelled_videos(tmp_path / "videos", listing).table
    path, report = write_features(tmp_path / "feats", table, Windows(25, 2500, 16, 4))
    assert report.classes == ("BaseballPitch", "CliffDiving")
    options = {"stride": 4, "num_frames": 16, "num_classes": 2}
    (item,) = load_actionformer_thumos(path.parent, path, ["validation"], **options)
    assert item.key == "video_validation_0000266.mp4"
    expected = np.array([[72.8, 76.4], [80.0, 83.5]])
    assert (item.segments + 2) * 4 / 25 == pytest.approx(expected, abs=0.02)
    (item,) = load_actionformer_thumos(path.parent, path, ["testing"], **options)
    assert list(item.labels) == [1]
