import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from flowkit.errors import UsageError
from flowkit.interchange.export import export
from flowkit.interchange.formats import hugging_face
from flowkit.interchange.formats.dataset_card import choose_size_category
from flowkit.interchange.formats.hugging_face import GROUP_ROWS, find_labels
from flowkit.recipe import FlowRecipe, LogMelRecipe, StoreRecipe
from flowkit.store import create_or_open, rebuild_index
from flowkit.store.format import jpeg
from flowkit.store.reader import Store
from flowkit.store.writer import ShardWriter

IDS = ("a", "b/ü #1", "c.d.mp4", "v_Archery_g01_c01", "..", "x" * 300 + ".avi")


def read_card(out: Path) -> tuple[dict, str]:
    """The front matter and the text of the dataset card."""
    _, front_matter, text = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front_matter), text


def read_split(out: Path, config: str, split: str) -> list[dict]:
    """The rows of a split, found through the card as the library does it."""
    (found,) = (c for c in read_card(out)[0]["configs"] if c["config_name"] == config)
    (entry,) = (entry for entry in found["data_files"] if entry["split"] == split)
    paths = [path for pattern in entry["path"] for path in sorted(out.glob(pattern))]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def read_features(out: Path) -> dict:
    """The features in the schema of every shard, which must be equal."""
    found = [
        json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
        for path in out.glob("data/*.parquet")
    ]
    assert all(features == found[0] for features in found)
    return found[0]


@pytest.mark.parametrize("streams", [("rgb",), ("flow",), ("rgb", "flow")])
def test_the_bytes_are_those_of_the_store(make_store, tmp_path, streams):
    store, out = Store(make_store(IDS, streams=streams)), tmp_path / "out"
    report = export(store, out, "huggingface", shard_bytes=20_000)
    assert (report.written, report.failures) == (len(IDS), {})
    rows = read_split(out, "frames", "train") + read_split(out, "frames", "test")
    columns = [name for name in ("rgb", "flow_x", "flow_y") if name.split("_")[0] in streams]
    assert list(rows[0]) == ["id", "frame", "time", "label", *columns]
    assert len(rows) == sum(store[id].num_frames for id in store)
    for number, row in enumerate(rows):
        video, t = store[row["id"]], row["frame"]
        if t:  # the frames of a video follow each other
            assert (rows[number - 1]["id"], rows[number - 1]["frame"]) == (row["id"], t - 1)
        assert row["time"] == t * 40_000
        assert store.classes[row["label"]] == video.labels[0].name
        if "rgb" in streams:
            assert row["rgb"] == {"bytes": video.rgb_bytes(t), "path": None}
        if "flow" in streams and t < video.num_flow:
            found = (row["flow_x"]["bytes"], row["flow_y"]["bytes"])
            assert found == video.flow_bytes(t)
        elif "flow" in streams:
            assert row["flow_x"] is None and row["flow_y"] is None


def test_features_and_card(make_store, tmp_path):
    root, out = make_store(IDS, bound=16.0), tmp_path / "out"
    export(root, out, "huggingface")
    image = {"_type": "Image"}
    assert read_features(out) == {
        "id": {"dtype": "string", "_type": "Value"},
        "frame": {"dtype": "int32", "_type": "Value"},
        "time": {"dtype": "int64", "_type": "Value"},
        "label": {"names": ["wave", "jump high"], "_type": "ClassLabel"},
        "rgb": image, "flow_x": image, "flow_y": image,
    }  # fmt: skip
    metadata, text = read_card(out)
    assert metadata["pretty_name"] == "tiny"
    assert metadata["task_categories"] == ["video-classification"]
    assert metadata["size_categories"] == ["n<1K"]
    assert "license" not in metadata
    assert [config["config_name"] for config in metadata["configs"]] == ["frames", "videos"]
    assert "- bound: 16 px" in text
    assert "`q = 128 + round(127 * clip(v, -bound, bound) / bound)`" in text
    assert "| test | 2 | 13 |" in text and "| train | 4 | 32 |" in text


@pytest.mark.parametrize("step", [1, 3, -2])
def test_the_card_says_where_the_flow_leads(tmp_path, step):
    create_or_open(tmp_path / "S", StoreRecipe(flow=FlowRecipe(step=step)))
    rebuild_index(tmp_path / "S")
    export(tmp_path / "S", tmp_path / "out", "huggingface")
    text = read_card(tmp_path / "out")[1]
    assert f"- from frame t to frame t{step:+d}; null where there is no such frame" in text
    assert "- step" not in text


def test_the_formula_of_the_card_inverts_the_quantization(make_store, tmp_path):
    store, out = Store(make_store(("a",), bound=16.0)), tmp_path / "out"
    export(store, out, "huggingface")
    code = read_card(out)[1].split("```python\n")[-1].split("```")[0]
    names: dict = {}
    exec(code, names)
    (row, *_) = read_split(out, "frames", "test")
    flow = [
        names["to_pixels"](jpeg.decode_grey(row[f"flow_{axis}"]["bytes"])) for axis in "xy"
    ]  # fmt: skip
    np.testing.assert_allclose(np.stack(flow, -1), store["a"].flow(0), atol=1e-5)


def test_labels_with_times_apply_to_their_frames(make_store, tmp_path, annotate):
    root, out = make_store(("a", "b", "c")), tmp_path / "out"
    annotate(root, {
        "a": ([("wave", 0.04, 0.12), ("ü/#", None, None)], ["train"]),
        "b": ([("jump high", None, None)], ["train"]),
    })  # fmt: skip
    assert export(root, out, "huggingface").unlabelled == 1
    names = ["wave", "jump high", "ü/#"]
    feature = {"names": names, "_type": "ClassLabel"}
    assert read_features(out)["labels"] == {"feature": feature, "_type": "Sequence"}
    rows = {(row["id"], row["frame"]): row for row in read_split(out, "frames", "train")}
    assert [rows["a", t]["labels"] for t in range(5)] == [[2], [0, 2], [0, 2], [2], [2]]
    assert rows["b", 3]["labels"] == [1]
    assert {tuple(row["labels"]) for row in read_split(out, "frames", "unassigned")} == {()}
    videos = {row["id"]: row for row in read_split(out, "videos", "train")}
    assert videos["a"]["labels"] == [
        {"class": 0, "start": 0.04, "end": 0.12}, {"class": 2, "start": None, "end": None}
    ]  # fmt: skip
    assert (videos["b"]["frames"], videos["b"]["flow"], videos["b"]["fps"]) == (6, 5, 25.0)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, True), (0.0, 1.0, True), (0.5, 1.0, True), (0.0, 0.5, False),
        (0.6, 1.0, False), (None, 0.6, True), (0.5, None, True), (0.51, None, False),
    ],
)  # fmt: skip
def test_a_label_applies_from_its_start_to_before_its_end(start, end, expected):
    label = {"class": 3, "start": start, "end": end}
    assert find_labels([label, label], 500_000) == ([3] if expected else [])


def test_a_label_with_an_end_alone_has_times(make_store, tmp_path, annotate):
    root, out = make_store(("a", "b")), tmp_path / "out"
    annotate(root, {"a": ([("wave", None, 0.06)], ["train"]), "b": ([("wave",)], ["train"])})
    export(root, out, "huggingface")
    rows = {(row["id"], row["frame"]): row for row in read_split(out, "frames", "train")}
    assert [rows["a", t]["labels"] for t in range(3)] == [[0], [0], []]


def test_a_store_without_labels_and_subsets(make_store, tmp_path):
    root, out = make_store(("a", "b"), annotated=False), tmp_path / "out"
    export(root, out, "huggingface")
    assert list(read_features(out)) == ["id", "frame", "time", "rgb", "flow_x", "flow_y"]
    assert {row["id"] for row in read_split(out, "frames", "train")} == {"a", "b"}
    assert "labels" not in read_split(out, "videos", "train")[0]


def test_unlabelled_videos_have_null(make_store, tmp_path, annotate):
    root, out = make_store(("a", "b")), tmp_path / "out"
    annotate(root, {"a": ([("wave",)], ["train"]), "b": ([], ["train"])})
    export(root, out, "huggingface")
    rows = read_split(out, "frames", "train")
    assert {(row["id"], row["label"]) for row in rows} == {("a", 0), ("b", None)}


def test_a_video_in_two_subsets_is_written_once(make_store, tmp_path, annotate):
    root, out = make_store(("a", "b", "c")), tmp_path / "out"
    annotate(root, {
        "a": ([], ["train 1", "test2"]), "b": ([], ["train 1"]), "c": ([], ["all"]),
    })  # fmt: skip
    export(root, out, "huggingface")
    assert [path.name for path in sorted(out.glob("data/*"))] == [
        "all_2-000000.parquet", "test2.train_1-000000.parquet", "train_1-000000.parquet",
    ]  # fmt: skip
    for config in ("frames", "videos"):
        for split, ids in (("train_1", {"a", "b"}), ("test2", {"a"}), ("all_2", {"c"})):
            assert {row["id"] for row in read_split(out, config, split)} == ids


def test_row_groups_are_small(make_store, tmp_path, monkeypatch):
    root, out = make_store(("a", "b"), frames=130, streams=("rgb",)), tmp_path
    export(root, out / "rows", "huggingface", subsets=["train"], ids=["b"])
    (path,) = (out / "rows").glob("data/*.parquet")
    groups = pq.ParquetFile(path).metadata
    sizes = [groups.row_group(k).num_rows for k in range(groups.num_row_groups)]
    assert sizes == [GROUP_ROWS, 131 - GROUP_ROWS]
    size = len(Store(root)["b"].rgb_bytes(0))
    monkeypatch.setattr(hugging_face, "GROUP_BYTES", 4 * size)
    export(root, out / "bytes", "huggingface", ids=["b"])
    (path,) = (out / "bytes").glob("data/*.parquet")
    assert pq.ParquetFile(path).metadata.num_row_groups > 131 / 6


def test_an_interrupted_export_ends_with_the_same_rows(make_store, tmp_path):
    root, out = make_store(IDS), tmp_path / "out"

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(root, out, "huggingface", shard_bytes=20_000, progress=stop)
    assert not (out / "README.md").exists()  # nobody takes it for finished
    assert list(out.glob("data/*.parquet")) and not list(out.glob(".part-*"))
    export(root, out, "huggingface", shard_bytes=20_000, workers=2)
    export(root, tmp_path / "whole", "huggingface", shard_bytes=20_000)
    names = [path.name for path in sorted(out.glob("data/*"))]
    assert names == [path.name for path in sorted((tmp_path / "whole").glob("data/*"))]
    for name in names:
        assert (out / "data" / name).read_bytes() == (tmp_path / "whole/data" / name).read_bytes()


def test_what_it_cannot_hold_is_said(stores, make_root, tmp_path):
    root = make_root({"a": stores.draw_rows(1, 3)})
    writer = ShardWriter(root, "audio", recipe=stores.RECIPE)
    stores.put_audio(writer, "only sound", 1)
    writer.close()
    rebuild_index(root)
    report = export(root, tmp_path / "out", "huggingface")
    assert report.left_out == ("audio", "features/net")
    assert report.failures == {"only sound": "it has no rgb or flow to write, only audio"}
    create_or_open(tmp_path / "sound", StoreRecipe(audio=LogMelRecipe()))
    rebuild_index(tmp_path / "sound")
    with pytest.raises(UsageError, match="no rgb and no flow"):
        export(tmp_path / "sound", tmp_path / "none", "huggingface")


@pytest.mark.parametrize(
    ("rows", "name"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "1B<n<10B"), (10**12, "n>1T")],
)
def test_size_categories(rows, name):
    assert choose_size_category(rows) == name


@pytest.mark.slow
def test_the_datasets_library_reads_it(make_store, tmp_path, monkeypatch, annotate):
    """Needs `pip install datasets`, which the extra test does not bring."""
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    root, out = make_store(IDS), tmp_path / "out"
    store = Store(root)
    export(store, out, "huggingface", shard_bytes=20_000)
    files = {"train": str(out / "data/train-*.parquet"), "test": str(out / "data/test-*.parquet")}
    loaded = datasets.load_dataset("parquet", data_files=files)
    by_card = datasets.load_dataset(str(out))
    streamed = datasets.load_dataset(str(out), "frames", streaming=True)
    for split in ("train", "test"):
        rows = loaded[split]
        assert rows.features == by_card[split].features
        assert rows.features["label"] == datasets.ClassLabel(names=["wave", "jump high"])
        assert len(rows) == len(by_card[split])
        for row, other in zip(rows, streamed[split], strict=True):
            video, t = store[row["id"]], row["frame"]
            assert (row["id"], t) == (other["id"], other["frame"])
            assert rows.features["label"].int2str(row["label"]) == video.labels[0].name
            assert abs(np.asarray(row["rgb"], int) - video.rgb(t)).mean() < 1
            if t < video.num_flow:
                flow = np.stack([np.asarray(row[f"flow_{axis}"], np.float32) for axis in "xy"], -1)
                pixels = (np.maximum(flow, 1) - 128) * 20 / 127
                np.testing.assert_allclose(pixels, video.flow(t), atol=1e-5)
            else:
                assert row["flow_x"] is None
    videos = datasets.load_dataset(str(out), "videos")
    assert sorted(id for split in videos.values() for id in split["id"]) == sorted(IDS)
    raw = rows.cast_column("rgb", datasets.Image(decode=False))[0]
    assert raw["rgb"]["bytes"] == store[raw["id"]].rgb_bytes(raw["frame"])


@pytest.mark.slow
def test_the_datasets_library_reads_labels_with_times(make_store, tmp_path, monkeypatch, annotate):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    root, out = make_store(("a", "b")), tmp_path / "out"
    annotate(root, {
        "a": ([("wave", 0.04, 0.12), ("ü/#", None, None)], ["val-1"]), "b": ([], []),
    })  # fmt: skip
    export(root, out, "huggingface")
    rows = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["val_1"]
    assert rows["labels"][:3] == [[2], [0, 2], [0, 2]]
    videos = datasets.load_dataset(str(out), "videos", cache_dir=str(tmp_path / "cache"))
    (video,) = videos["val_1"]
    assert [label["class"] for label in video["labels"]] == [0, 2]
    assert [label["start"] for label in video["labels"]] == [0.04, None]


@pytest.mark.slow
def test_the_datasets_library_reads_the_shards_of_a_store(make_store, tmp_path):
    datasets = pytest.importorskip("datasets")
    root = make_store(("a", "b"), per_shard=1)
    store = Store(root)
    rows = datasets.load_dataset(
        "arrow", data_files=str(root / "frames/*.arrow"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert len(rows) == sum(store[id].num_frames for id in store)
    expected = {store[id].rgb_bytes(t) for id in store for t in range(store[id].num_frames)}
    assert set(rows["rgb"]) == expected
    assert sum(value is None for value in rows["flow_x"]) == 2
    for name in ("rgb", "flow_x", "flow_y"):
        rows = rows.cast_column(name, datasets.Value("binary"))
        rows = rows.cast_column(name, datasets.Image())
    assert rows[0]["rgb"].size == rows[0]["flow_x"].size == (40, 24)
    assert sum(value is None for value in rows["flow_x"]) == 2
