"""Annotations from the JSON files of a feature folder, and the loaders that read both."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.store.format.atomic import write_atomic
from tests.flowkit.interchange.activitynet.localization_loaders import (
    load_actionformer_thumos,
    load_opentad_padding,
)
from train.feature_files.annotation_file import (
    annotate_features,
    check_annotation_request,
    measure_drift,
)
from train.feature_files.windows import WindowSampling


def make_info(id, windows, frames, fps=25.0, times=None, shapes=((2048,),)):
    """Make what stands in the JSON file of a video, and is needed here."""
    rows = windows.count_rows(frames)
    constant = {"fps": fps} if times is None else {"frame_times": times}
    spans = windows.compute_times(frames, **constant)
    padding = windows.list_padding(frames)
    return {
        "id": id, "rows": rows, "frames": frames, "frame_rate": fps,
        "duration": float(frames / fps if times is None else times[-1] + 1 / fps),
        "start_seconds": spans[:, 0].round(6).tolist(),
        "end_seconds": spans[:, 1].round(6).tolist(),
        "padding": [[int(row), int(padding[row])] for row in np.flatnonzero(padding)],
        "files": [{"name": "x", "shape": [rows, *shape]} for shape in shapes],
        "recipe": {"windows": vars(windows)},
    }  # fmt: skip


def write_features(folder, name, info):
    path = folder / f"{name}.json"
    np.save(folder / f"{name}.npy", np.zeros(info["files"][0]["shape"], np.float32))
    write_atomic(path, json.dumps(info).encode())
    return path


def make_table(*labels, ids=("a.mp4",)):
    classes = tuple(sorted({label.name for label in labels}))
    return AnnotationTable(classes, tuple(Annotation(id, labels, ("train",)) for id in ids))


@settings(max_examples=60)
@given(
    st.builds(
        WindowSampling,
        length=st.integers(1, 24),
        stride=st.integers(1, 24),
        step=st.integers(1, 3),
        placement=st.sampled_from(["whole", "covering", "centred"]),
        last_frame=st.sampled_from(["keep", "drop"]),
    ),
    st.integers(2, 400),
    st.sampled_from([12.0, 25.0, 29.97, 60.0]),
)
def test_a_segment_is_at_the_rows_that_the_json_says(tmp_path_factory, windows, frames, fps):
    folder = tmp_path_factory.mktemp("x")
    info = make_info("a.mp4", windows, frames, fps)
    spans = np.stack([info["start_seconds"], info["end_seconds"]], 1)
    padded = {row for row, _ in info["padding"]}
    own = [row for row in range(len(spans)) if row not in padded]
    if not own:
        return
    # From the beginning of one window to the end of a later one.
    first, last = own[len(own) // 3], own[-1]
    label = Label("jump", float(spans[first, 0]), float(spans[last, 1]))
    path = folder / "annotations.json"
    lines = annotate_features(path, make_table(label), [write_features(folder, "a", info)])
    find = re.search
    stride = int(find(r"feat_stride: (\d+)", lines[-2])[1])
    num_frames = int(find(r"num_frames: (-?\d+)", lines[-2])[1])
    offset_frames = int(find(r"offset_frames=(-?\d+)", lines[-1])[1])
    options = {"stride": stride, "num_frames": num_frames, "num_classes": 1}
    (item,) = load_actionformer_thumos(folder, path, ["training"], **options)
    half = windows.extent / 2 / stride
    assert item.segments[0] == pytest.approx([first - half, last + half], abs=0.01)
    options = {"stride": stride, "offset_frames": offset_frames}
    (item,) = load_opentad_padding(folder, path, "training", **options)
    # Whole frames: rounded down, and half a frame for windows of an odd number of frames.
    assert item.segments[0] * stride == pytest.approx(
        [(first - half) * stride, (last + half) * stride], abs=1.6
    )


WINDOWS = WindowSampling(length=16, stride=4)


def test_the_report(tmp_path):
    times = np.arange(100) / 25 + 2.0 * (np.arange(100) >= 50)  # a still picture of two seconds
    infos = {
        "a": make_info("a.mp4", WINDOWS, 100),
        "b": make_info("b.mp4", WINDOWS, 100, fps=16.6, times=times),
        "c": make_info("c.mp4", WINDOWS, 3),  # shorter than a window
        "d%2Fe": make_info("d/e.mp4", WINDOWS, 100),
    }
    paths = [write_features(tmp_path, name, info) for name, info in infos.items()]
    paths.append(tmp_path / "failed.json")
    table = make_table(Label("jump", 0.0, 0.1), ids=("a.mp4", "b.mp4", "c.mp4", "d/e.mp4", "f.mp4"))
    lines = annotate_features(tmp_path / "annotations.json", table, paths)
    drift = measure_drift(infos["b"]) * 4 / 16.6
    assert lines == [
        "annotations.json: 4 videos (training 4), 4 segments of 1 class",
        "1 annotated video left out, since it has no features: f.mp4",
        f"1 video has a varying frame rate: b ({drift:.2f} s); loaders assume a constant one and "
        "place rows wrong by up to these times: compute the features with --fps",
        "ActionFormer: feat_stride: 4, num_frames: 16, default_fps: ~, file_prefix: ~, file_ext: "
        ".npy, input_dim: 2048, num_classes: 1; train_split and val_split: of training",
        "OpenTAD: ThumosPaddingDataset, feature_stride=4, sample_stride=1, offset_frames=8; "
        "subset_name: of training",
    ]
    assert 0.8 < drift < 1.2  # the average rate shares the two seconds out
    assert [measure_drift(infos[name]) for name in ("a", "c")] == pytest.approx([0, 0], abs=1e-3)
    database = json.loads((tmp_path / "annotations.json").read_bytes())["database"]
    assert {key: (e["duration"], e["fps"], e["frame"]) for key, e in database.items()} == {
        "a": (4.0, 25.0, 100),
        "b": (pytest.approx(5.96 + 1 / 16.6), 16.6, 100),
        "c": (0.12, 25.0, 3),
        "d%2Fe": (4.0, 25.0, 100),
    }


def test_files_of_each_stream_and_rows_of_ten_crops(tmp_path):
    table = make_table(Label("jump", 0.0, 0.1))
    separate = make_info("a.mp4", WINDOWS, 100, shapes=((1024,), (1024,)))
    path = write_features(tmp_path, "a", separate)
    (tmp_path / "a.npy").rename(tmp_path / "a.rgb.npy")
    lines = annotate_features(tmp_path / "annotations.json", table, [path])
    assert "input_dim: 2048," in lines[1]
    assert list(json.loads((tmp_path / "annotations.json").read_bytes())["database"]) == ["a"]
    path.write_text(json.dumps(make_info("a.mp4", WINDOWS, 100, shapes=((10, 2048),))))
    lines = annotate_features(tmp_path / "annotations.json", table, [path])
    assert lines == ["annotations.json: 1 video (training 1), 1 segment of 1 class"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "a"', "is damaged (Expecting"),
        ("[]", "expected the description of the features"),
        (
            '{"id": "a", "duration": 1, "frame_rate": 25, "frames": 25, "files": {}, "recipe": {}}',
            "expected the description of the features",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(CorruptError, match=re.escape(f"{path}") + ".*" + re.escape(message)):
        annotate_features(tmp_path / "annotations.json", make_table(Label("x")), [path])


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = write_features(tmp_path, "a", make_info("a.mp4", WINDOWS, 100))

    read_bytes = Path.read_bytes

    def refuse(path):
        if path.name == "a.json":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StoreError, match=r"a\.json cannot be read \(Permission denied\): check"):
        annotate_features(tmp_path / "annotations.json", make_table(Label("x")), [path])


def test_the_json_of_a_video_is_never_replaced(tmp_path):
    path = write_features(tmp_path, "annotations", make_info("annotations.mp4", WINDOWS, 100))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="choose another name for the annotations"):
        annotate_features(path, make_table(Label("x")), [path])
    same = tmp_path / ".." / tmp_path.name / "annotations.json"
    with pytest.raises(UsageError, match="choose another name for the annotations"):
        check_annotation_request(same, make_table(Label("x")), {"a.mp4": path})
    assert path.read_bytes() == before
    other = tmp_path / "other/annotations.json"
    check_annotation_request(other, make_table(Label("x")), {"a.mp4": path})
    annotate_features(other, make_table(Label("x")), [path])
    assert sorted(path.name for path in other.parent.iterdir()) == [
        "annotations.json", "category_idx.txt", "missing_files.txt"
    ]  # fmt: skip


def test_jobs_that_end_at_once_write_the_videos_of_all(tmp_path):
    """Each job begins to write when it has computed its video; nobody waits for the others."""
    ids = [f"{n}.mp4" for n in range(8)]
    paths = [tmp_path / f"{n}.json" for n in range(8)]
    table = make_table(Label("jump", 0.0, 0.1), ids=ids)

    def run_job(n):
        write_features(tmp_path, str(n), make_info(ids[n], WINDOWS, 100))
        annotate_features(tmp_path / "annotations.json", table, paths)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run_job, range(8)))
    database = json.loads((tmp_path / "annotations.json").read_bytes())["database"]
    assert list(database) == [str(n) for n in range(8)]


def test_no_features(tmp_path):
    with pytest.raises(UsageError, match="no video has features"):
        annotate_features(tmp_path / "x.json", make_table(Label("x")), [])
    with pytest.raises(UsageError, match="no video has features"):
        annotate_features(tmp_path / "x.json", make_table(Label("x")), [tmp_path / "a.json"])
