import io
import json
import sys
import tarfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.interchange.export import export
from flowkit.interchange.file_names import encode_key
from flowkit.interchange.formats.webdataset import make_header
from flowkit.store import rebuild_index
from flowkit.store.reader import Store
from flowkit.store.writer import ShardWriter

IDS = ("a", "b/ü #1", "c.d.mp4", "v_Archery_g01_c01", "..", "x" * 300 + ".avi")


def check_samples(store, samples):
    """Every byte of RGB and flow is there once, with labels, subsets and times."""
    for id, sample in samples.items():
        video, info = store[id], json.loads(sample["json"])
        assert sample["__key__"] == encode_key(id)
        images = {name: data for name, data in sample.items() if name.endswith(".jpg")}
        expected = {}
        if "rgb" in video.streams:
            for t in range(video.num_frames):
                expected[f"rgb.{t:06d}.jpg"] = video.rgb_bytes(t)
        for t in range(video.num_flow):
            names = (f"flow_x.{t:06d}.jpg", f"flow_y.{t:06d}.jpg")
            expected |= zip(names, video.flow_bytes(t), strict=True)
        assert images == expected
        assert info["frames"] == video.num_frames == len(info["times"])
        assert info["subsets"] == list(video.subsets)
        assert [label["name"] for label in info["labels"]] == [x.name for x in video.labels]


@pytest.mark.parametrize("streams", [("rgb",), ("flow",), ("rgb", "flow")])
def test_the_bytes_are_those_of_the_store(make_store, tmp_path, read_videos, streams):
    store = Store(make_store(IDS, streams=streams))
    report = export(store, tmp_path / "out", "webdataset")
    assert (report.written, report.skipped, report.failures) == (len(IDS), 0, {})
    assert report.frames == sum(store[id].num_frames for id in store)
    samples = read_videos(tmp_path / "out")
    assert sorted(samples) == sorted(IDS)
    check_samples(store, samples)
    assert ("bound" in json.loads(samples["a"]["json"])) == ("flow" in streams)
    assert samples["a"]["cls"] == b"0" and samples["b/ü #1"]["cls"] == b"1"


def test_shards_of_subsets_hold_each_video_once(make_store, tmp_path, annotate, read_samples):
    root = make_store(IDS)
    subsets = {
        "a": ["train1", "test2"], "b/ü #1": ["train1", "train2"], "..": ["test1", "train2"]
    }  # fmt: skip
    annotate(root, {id: ([], names) for id, names in subsets.items()})
    out = tmp_path / "out"
    export(root, out, "webdataset", shard_bytes=1)
    lists = json.loads((out / "shards.json").read_text())
    assert len(list(out.glob("*.tar"))) == len(IDS)  # each is larger than a byte
    for subset in ("train1", "train2", "test1", "test2"):
        entry = lists["subsets"][subset]
        samples = list(read_samples(out / name for name in entry["shards"]))
        found = {json.loads(sample["json"])["id"] for sample in samples}
        assert found == {id for id, names in subsets.items() if subset in names}
        assert entry["samples"] == len(samples)
    assert lists["subsets"]["unassigned"]["samples"] == 3
    assert lists["classes"] == ["wave", "jump high", "ü/#"]


def test_the_list_of_shards_has_the_names_of_subsets(make_store, tmp_path, annotate, read_videos):
    root = make_store(("a", "b"))
    annotate(root, {"a": ([], ["train/1"])})
    export(root, tmp_path / "out", "webdataset")
    lists = json.loads((tmp_path / "out/shards.json").read_text())["subsets"]
    assert {key: entry["name"] for key, entry in lists.items()} == {
        "train_1": "train/1", "unassigned": None
    }  # fmt: skip
    assert json.loads(read_videos(tmp_path / "out")["a"]["json"])["subsets"] == ["train/1"]


def test_equal_stores_give_equal_bytes(make_store, tmp_path, hash_files):
    root = make_store(IDS)
    for name, workers in (("one", 1), ("two", 3)):
        export(root, tmp_path / name, "webdataset", shard_bytes=20_000, workers=workers)
    first = hash_files(tmp_path / "one")
    assert sum(name.endswith(".tar") for name in first) > 2
    assert first == hash_files(tmp_path / "two")
    with tarfile.open(next((tmp_path / "one").glob("*.tar"))) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")


def test_labels_with_times_and_several_labels(make_store, tmp_path, annotate, read_videos):
    root = make_store(("a", "b", "c"))
    twice = [("wave", 0.0, 0.1), ("wave", 0.15, 0.2)]
    annotate(root, {
        "a": ([("wave", 0.0, 0.1), ("ü/#", 0.05, 0.2)], ["train"]), "b": (twice, ["train"]),
    })  # fmt: skip
    export(root, tmp_path / "out", "webdataset")
    samples = read_videos(tmp_path / "out")
    assert json.loads(samples["a"]["json"])["labels"] == [
        {"class": 0, "name": "wave", "start": 0.0, "end": 0.1},
        {"class": 2, "name": "ü/#", "start": 0.05, "end": 0.2},
    ]
    assert [samples[id].get("cls") for id in "abc"] == [None, b"0", None]
    assert json.loads(samples["a"]["json"])["times"] == [0, 40000, 80000, 120000, 160000]


def test_sound_comes_as_an_array(stores, make_root, tmp_path, read_videos):
    root = make_root({"a": stores.draw_rows(1, 3)})
    writer = ShardWriter(root, "audio", recipe=stores.RECIPE)
    stores.put_audio(writer, "a", 2, start=0.5)
    stores.put_audio(writer, "only sound", 1)
    writer.close()
    rebuild_index(root)
    report = export(root, tmp_path / "out", "webdataset")
    assert report.left_out == ("features/net",)
    samples = read_videos(tmp_path / "out")
    patches = np.load(io.BytesIO(samples["a"]["audio.npy"]))
    assert patches.dtype == np.float32
    np.testing.assert_array_equal(patches, Store(root)["a"].audio())
    assert set(samples["only sound"]) == {"__key__", "json", "audio.npy"}
    assert set(samples["a"]) > {"rgb.000002.jpg", "flow_y.000001.jpg"}


def test_a_video_with_changed_bytes_is_listed_and_left_out(make_store, tmp_path, read_videos):
    root = make_store(IDS)
    data = Store(root)["a"].rgb_bytes(2)
    (shard,) = (root / "frames").glob("*.arrow")
    content = bytearray(shard.read_bytes())
    content[content.index(data) + len(data) // 2] ^= 1  # still a JPEG that can be decoded
    shard.write_bytes(content)
    report = export(root, tmp_path / "out", "webdataset", workers=2)
    assert list(report.failures) == ["a"] and "checksum mismatch" in report.failures["a"]
    samples = read_videos(tmp_path / "out")
    assert sorted(samples) == sorted(set(IDS) - {"a"})
    check_samples(Store(root), samples)
    only = export(root, tmp_path / "only", "webdataset", ids=["a"])
    assert only.written == 0 and not list((tmp_path / "only").glob("*.tar"))


class TarDataset:
    """What the example in the documentation uses of WebDataset, in pure Python."""

    def __init__(self, read_samples, urls, shardshuffle):
        assert shardshuffle == len(urls)
        self.samples = read_samples(map(Path, urls))

    def shuffle(self, size):
        return self

    def map(self, function):
        self.samples = map(function, self.samples)
        return self

    def __iter__(self):
        return iter(self.samples)


def run_example(root, tmp_path, monkeypatch):
    """The dataset of the example in the documentation, over an export of the store."""
    export(root, tmp_path / "shards", "webdataset", shard_bytes=20_000)
    text = (Path(__file__).parents[4] / "docs/other_tools.md").read_text(encoding="utf-8")
    code = text.split('```python title="read_snippets.py"\n')[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    return names


def check_example(store, names):
    snippets = list(names["dataset"])
    assert len(snippets) == len(store.subset("train")) and len(names["urls"]) > 1
    for rgb, flow, label in snippets:
        assert rgb.shape == (24, 40, 3) and flow.shape == (10, 24, 40) and label in (0, 1)
    # a video with five flow fields leaves no choice
    (id,) = (id for id in store if store[id].num_flow == 5)
    expected = np.concatenate([store[id].flow(t).transpose(2, 0, 1) for t in range(5)])
    assert any(np.allclose(flow, expected, atol=1e-4) for _, flow, _ in snippets)


def test_the_example_of_the_documentation(make_store, tmp_path, monkeypatch, read_samples):
    fake = SimpleNamespace(WebDataset=partial(TarDataset, read_samples))
    monkeypatch.setitem(sys.modules, "webdataset", fake)
    root = make_store(IDS)
    check_example(Store(root), run_example(root, tmp_path, monkeypatch))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_example_with_the_webdataset_library(make_store, tmp_path, monkeypatch):
    """Needs `pip install webdataset`, which the extra test does not bring."""
    pytest.importorskip("webdataset")
    root = make_store(IDS)
    check_example(Store(root), run_example(root, tmp_path, monkeypatch))


@given(st.text(st.sampled_from("ab%./~0"), min_size=1, max_size=140), st.integers(0, 8**12))
def test_headers_are_those_of_tarfile(name, size):
    member = tarfile.TarInfo(name)
    member.size = size
    assert make_header(name, size) == member.tobuf(tarfile.PAX_FORMAT)
