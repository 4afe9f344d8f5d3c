import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import BatchSampler, DataLoader  # noqa: E402

from flowkit.annotations.table import Annotation, AnnotationTable, Label  # noqa: E402
from flowkit.datasets.clips import ClipDataset  # noqa: E402
from flowkit.datasets.loading import Batches, EpochSampler  # noqa: E402
from flowkit.datasets.sampling import (  # noqa: E402
    ClipSampling,
    make_generator,
    sample_middles,
    sample_randomly,
)
from flowkit.datasets.snippets import SnippetDataset  # noqa: E402
from flowkit.datasets.transforms import CentreCrop, MultiScaleCrop, TenCrop  # noqa: E402
from flowkit.datasets.video_dataset import scale_bytes  # noqa: E402
from flowkit.errors import StoreError, UsageError  # noqa: E402
from flowkit.store import (  # noqa: E402
    Store,
    rebuild_index,
    write_annotations,
)
from flowkit.store.format.jpeg import decode_grey, decode_rgb  # noqa: E402

IDS = [f"video {number:02}" for number in range(9)]  # six in train, three in test


@pytest.fixture
def store(make_store):
    return Store(make_store(IDS, frames=12))


# --- snippets ------------------------------------------------------------------------------------


def test_snippets_hold_what_the_store_holds(store):
    dataset = SnippetDataset(store, "test", 3, crops=CentreCrop(24), as_bytes=True)
    sample = dataset[1]
    video = store[int(sample["row"])]
    assert sample["rgb"].shape == (3, 3, 24, 24)
    assert sample["flow"].shape == (3, 10, 24, 24)
    assert sample["label"] == store.classes.index(video.labels[0].name)
    left = (video.width - 24) // 2
    for k, t in enumerate(sample_middles(video.num_flow - 4, 3)):
        rgb = decode_rgb(video.rgb_bytes(int(t)))[:, left : left + 24]
        np.testing.assert_array_equal(sample["rgb"][k], rgb.transpose(2, 0, 1))
        for i in range(5):
            for axis, data in enumerate(video.flow_bytes(int(t) + i)):
                plane = np.maximum(decode_grey(data)[:, left : left + 24], 1)
                np.testing.assert_array_equal(sample["flow"][k, 2 * i + axis], plane)


def test_loader_workers_need_no_pandas():
    """Ray brings it, and Arrow would import it: half a second and 40 MB in every worker."""
    code = """
import sys
from flowkit.datasets.feature_sets import FeatureSetDataset
from flowkit.datasets.loading import Batches
from flowkit.datasets.snippets import SnippetDataset
from flowkit.datasets.transforms import CentreCrop
images = SnippetDataset(sys.argv[1], "val", 2, crops=CentreCrop(16))
sets = FeatureSetDataset(sys.argv[1], "val", {"rgb": "pooled"})
print(*Batches(images)[[(0, 0), (0, 1)]], *sets[0], "pandas" in sys.modules)
"""
    store = Path(__file__).parents[2] / "golden/store"
    command = [sys.executable, "-c", code, str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split()[-1] == "False"


def test_values_are_scaled(store):
    plain = SnippetDataset(store, "train", 2, crops=CentreCrop(16))
    raw = SnippetDataset(store, "train", 2, crops=CentreCrop(16), as_bytes=True)
    for stream, low in (("rgb", 0), ("flow", -1)):
        values = plain[0][stream]
        assert values.dtype == torch.float32
        assert values.min() >= low and values.max() <= 1
        torch.testing.assert_close(values, scale_bytes(raw[0][stream], stream))
    rest = torch.full((1,), 128, dtype=torch.uint8)
    assert scale_bytes(rest, "flow").item() == 0
    assert scale_bytes(torch.tensor([1, 255], dtype=torch.uint8), "flow").tolist() == [-1, 1]


def test_flow_in_pixels_comes_back_times_the_bound(store):
    dataset = SnippetDataset(store, "test", 1, crops=CentreCrop(24))
    sample = dataset[0]
    video = store[int(sample["row"])]
    t = int(sample_middles(video.num_flow - 4, 1)[0])
    left = (video.width - 24) // 2
    expected = video.flow(t)[:, left : left + 24].transpose(2, 0, 1)
    np.testing.assert_allclose(sample["flow"][0, :2] * store.bound, expected, atol=1e-5)


def test_one_draw_moves_rgb_and_flow_together(store):
    both = SnippetDataset(store, "train", 3, training=True, crops=MultiScaleCrop(size=16))
    for epoch in range(12):
        sample = both[epoch, 2]
        for stream in ("rgb", "flow"):
            alone = SnippetDataset(
                store, "train", 3, training=True, crops=MultiScaleCrop(size=16),
                streams=("flow",) if stream == "flow" else ("rgb", "flow"),
            )  # fmt: skip
            torch.testing.assert_close(alone[epoch, 2][stream], sample[stream])


def test_training_draws_anew_each_epoch_and_the_same_in_each_worker(store):
    dataset = SnippetDataset(store, "train", 3, training=True, crops=MultiScaleCrop(size=16))
    assert not torch.equal(dataset[0, 0]["rgb"], dataset[1, 0]["rgb"])
    keys = [(epoch, index) for epoch in range(2) for index in range(len(dataset))]
    expected = [dataset[key] for key in keys]
    for workers in (1, 2):
        loader = DataLoader(dataset, sampler=keys, batch_size=None, num_workers=workers)
        for sample, wanted in zip(loader, expected, strict=True):
            for name, value in wanted.items():
                torch.testing.assert_close(sample[name], value, rtol=0, atol=0)


def test_another_seed_is_another_draw(store):
    make = lambda seed: SnippetDataset(  # noqa: E731
        store, "train", 3, training=True, crops=MultiScaleCrop(size=16), seed=seed
    )
    assert any(not torch.equal(make(0)[0, i]["rgb"], make(1)[0, i]["rgb"]) for i in range(4))


def test_ten_crops_negate_x_where_they_are_mirrored(store):
    # Another toolbox mirrors flow in its ten crops without negating x.
    dataset = SnippetDataset(store, "test", 2, crops=TenCrop(16), as_bytes=True)
    flow = dataset[0]["flow"].int().reshape(2, 10, 5, 2, 16, 16)
    centre, mirrored = flow[:, 4], flow[:, 9]
    torch.testing.assert_close(mirrored[:, :, 0], 256 - centre[:, :, 0].flip(-1))
    torch.testing.assert_close(mirrored[:, :, 1], centre[:, :, 1].flip(-1))
    assert dataset[0]["rgb"].shape == (20, 3, 16, 16)


def test_defaults_are_the_papers(store):
    assert SnippetDataset(store, "test", 25).crops == TenCrop(224)
    both = SnippetDataset(store, "train", 3, training=True)
    assert both.crops.scales == (1.0, 0.875, 0.75)
    rgb = SnippetDataset(store, "train", 3, training=True, streams=("rgb",))
    assert rgb.crops.scales == (1.0, 0.875, 0.75, 0.66)


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_short_videos_repeat_their_last_field(make_store, tmp_path, frames):
    store = Store(make_store(["x"], root=tmp_path / "short", frames=frames))
    sample = SnippetDataset(store, "test", 4, crops=CentreCrop(24), as_bytes=True)[0]
    assert sample["flow"].shape == (4, 10, 24, 24)
    video = store["x"]
    x, _ = video.flow_bytes(video.num_flow - 1)
    left = (video.width - 24) // 2
    last = np.maximum(decode_grey(x)[:, left : left + 24], 1)
    np.testing.assert_array_equal(sample["flow"][0, 8], last)


def test_many_labels(store):
    rows = [
        Annotation(id, tuple(Label(name, 1.0, 2.0) for name in names), ("train",))
        for id, names in zip(IDS, [["b", "a"], [], ["c"]] * 3, strict=True)
    ]
    write_annotations(store.path, AnnotationTable(("a", "b", "c"), tuple(rows)))
    rebuild_index(store.path)
    dataset = SnippetDataset(store.path, "train", 1, multi_label=True, crops=CentreCrop(8))
    assert [dataset[i]["label"].tolist() for i in range(3)] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    with pytest.raises(StoreError, match=r"3 of 9 videos .* have no label: give .*'video 01'"):
        SnippetDataset(store.path, "train", 1)
    labelled = tuple(row for row in rows if row.labels)
    write_annotations(store.path, AnnotationTable(("a", "b", "c"), labelled))
    rebuild_index(store.path)
    with pytest.raises(StoreError, match=r"3 of 6 videos .* several labels: use .*'video 00'"):
        SnippetDataset(store.path, "train", 1)


# --- bad input ----------------------------------------------------------------------------------


def test_an_unknown_subset_is_an_error(store):
    with pytest.raises(UsageError, match=r"expected a subset \(test, train\), got 'val'"):
        SnippetDataset(store, "val", 3)


def test_a_store_without_flow_is_an_error(make_store, tmp_path):
    store = Store(make_store(IDS, root=tmp_path / "rgb", streams=("rgb",)))
    with pytest.raises(StoreError, match=r"have no flow: extract it with --streams flow"):
        SnippetDataset(store, "train", 3)
    assert len(SnippetDataset(store, "train", 3, streams=("rgb",))) == 6


def test_unknown_streams_are_errors(store):
    with pytest.raises(UsageError, match="expected streams rgb, flow or both, got audio"):
        SnippetDataset(store, "train", 3, streams=("audio",))
    with pytest.raises(UsageError, match="got 0 and 3"):
        SnippetDataset(store, "train", 3, flow_length=0)


def test_a_store_that_changed_is_noticed_by_new_workers(store):
    dataset = SnippetDataset(store, "train", 3, crops=CentreCrop(8))
    copy = pickle.dumps(dataset)
    rebuild_index(store.path)
    write_annotations(store.path, AnnotationTable(("a",), ()))
    rebuild_index(store.path)
    with pytest.raises(StoreError, match="rebuilt meanwhile; open the store again"):
        pickle.loads(copy)[0]
    assert dataset[0]["rgb"].shape == (3, 3, 8, 8)  # the open one sees what it saw


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_what_the_loader_would_have_collated(store, workers):
    dataset = SnippetDataset(
        store, "train", 2, training=True, crops=MultiScaleCrop(size=16), as_bytes=True
    )
    sampler = EpochSampler(len(dataset), training=True)
    sampler.set_epoch(3)
    plain = DataLoader(dataset, 4, sampler=sampler)
    whole = DataLoader(
        Batches(dataset), None, sampler=BatchSampler(sampler, 4, False), num_workers=workers
    )
    assert [len(batch["label"]) for batch in whole] == [4, 2]
    for a, b in zip(plain, whole, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name
        assert b["rgb"].is_shared() == bool(workers)


# --- clips ----------------------------------------------------------------------------------------


def test_clips_hold_what_the_store_holds(store):
    sampling = ClipSampling(length=4, stride=2, clips=3)
    dataset = ClipDataset(
        store, "test", sampling, streams=("rgb", "flow"), crops=CentreCrop(24), as_bytes=True
    )
    sample = dataset[0]
    assert sample["rgb"].shape == (3, 3, 4, 24, 24)
    assert sample["flow"].shape == (3, 2, 4, 24, 24)
    video = store[int(sample["row"])]
    left = (video.width - 24) // 2
    for v, times in enumerate(sampling.sample_middles(video.num_flow)):
        for i, t in enumerate(times):
            rgb = decode_rgb(video.rgb_bytes(int(t)))[:, left : left + 24]
            np.testing.assert_array_equal(sample["rgb"][v, :, i], rgb.transpose(2, 0, 1))
            x, _ = video.flow_bytes(int(t))
            plane = np.maximum(decode_grey(x)[:, left : left + 24], 1)
            np.testing.assert_array_equal(sample["flow"][v, 0, i], plane)


def test_clips_of_short_videos_repeat_the_last_frame(make_store, tmp_path):
    store = Store(make_store(["x"], root=tmp_path / "short", frames=3))
    dataset = ClipDataset(store, "test", ClipSampling(length=6), crops=CentreCrop(24))
    rgb = dataset[0]["rgb"][0]
    assert torch.equal(rgb[:, 2], rgb[:, 5]) and not torch.equal(rgb[:, 1], rgb[:, 2])


def test_views_are_clips_times_crops(store):
    sampling = ClipSampling(length=2, clips=3)
    dataset = ClipDataset(store, "train", sampling, crops=TenCrop(8))
    assert dataset[0]["rgb"].shape == (30, 3, 2, 8, 8)
    training = ClipDataset(store, "train", sampling, training=True, crops=MultiScaleCrop(size=8))
    assert training[0, 1]["rgb"].shape == (1, 3, 2, 8, 8)
    assert len(training) == 6


# --- the sampler ----------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_validation_drops_and_repeats_nothing(world):
    # Padded shards repeat samples, and bias accuracy: another toolbox only warns of it.
    shards = [list(EpochSampler(10, training=False, rank=r, world=world)) for r in range(world)]
    indices = sorted(index for shard in shards for _, index in shard)
    assert indices == list(range(10))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_training_gives_each_process_as_many(world):
    samplers = [EpochSampler(10, training=True, rank=r, world=world) for r in range(world)]
    shards = [[index for _, index in sampler] for sampler in samplers]
    assert {len(shard) for shard in shards} == {10 // world}
    seen = [index for shard in shards for index in shard]
    assert len(set(seen)) == len(seen)


def test_each_epoch_has_its_own_order():
    sampler = EpochSampler(50, training=True, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(i for _, i in first) == sorted(i for _, i in second) == list(range(50))
    assert [i for _, i in first] != [i for _, i in second]
    assert {epoch for epoch, _ in second} == {1}
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_an_epoch_is_resumed_where_it_was_left():
    sampler = EpochSampler(20, training=True, rank=1, world=2)
    sampler.set_epoch(4)
    whole = list(sampler)
    sampler.taken = 6
    state = sampler.state_dict()
    other = EpochSampler(20, training=True, rank=1, world=2)
    other.load_state_dict(state)
    assert list(other) == whole[6:] and len(other) == len(whole) - 6
    other.set_epoch(5)
    assert len(list(other)) == 10
    with pytest.raises(UsageError, match=r"expected a dataset of 20 videos.*got 21"):
        EpochSampler(21, training=True).load_state_dict(state)
    with pytest.raises(UsageError, match="rank from 0 to 1, got 2"):
        EpochSampler(20, training=True, rank=2, world=2)


# --- flow of other steps --------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, -1, -3])
@pytest.mark.parametrize("training", [True, False])
def test_snippets_of_any_step_are_those_of_frames_with_flow(make_store, step, training):
    store = Store(make_store(IDS, frames=9, step=step))
    dataset = SnippetDataset(
        store, "train", 3, flow_length=2, training=training, crops=CentreCrop(24), as_bytes=True
    )
    both = SnippetDataset(
        store, "train", 3, flow_length=2, training=training, crops=CentreCrop(24), as_bytes=True,
        streams=("flow",),
    )  # fmt: skip
    for key in ((epoch, index) for epoch in range(3) for index in range(6)):
        sample = dataset[key]
        row = int(sample["row"])
        video, random = store[row], make_generator(0, key[0], row)
        positions = video.num_frames - abs(step) - 1
        sample_starts = sample_randomly if training else sample_middles
        starts = sample_starts(positions, 3, *((random,) if training else ())) + max(0, -step)
        left = (video.width - 24) // 2
        for k, t in enumerate(starts.tolist()):
            rgb = decode_rgb(video.rgb_bytes(t))[:, left : left + 24]
            np.testing.assert_array_equal(sample["rgb"][k], rgb.transpose(2, 0, 1))
            for i, data in enumerate(image for pair in video.flow_jpegs(t, 2) for image in pair):
                plane = np.maximum(decode_grey(data)[:, left : left + 24], 1)
                np.testing.assert_array_equal(sample["flow"][k, i], plane)
        torch.testing.assert_close(both[key]["flow"], sample["flow"])


@pytest.mark.parametrize("step", [2, -2])
def test_clips_and_short_videos_of_any_step(make_store, step):
    store = Store(make_store(IDS[:3], frames=4, step=step))
    sampling = ClipSampling(length=3, clips=2)
    clips = ClipDataset(
        store, "train", sampling, streams=("rgb", "flow"), crops=CentreCrop(24), as_bytes=True
    )
    assert clips.sample_times(1, None)[0].min() == max(0, -step)
    assert clips[0]["flow"].shape == (2, 2, 3, 24, 24)
    snippets = SnippetDataset(store, "train", 4, crops=CentreCrop(24), as_bytes=True)
    video = store[int(snippets.subset.rows[0])]
    assert video.num_flow == 3  # of 5 frames; snippets of 5 fields repeat the last one
    last = np.maximum(decode_grey(video.flow_bytes(video.flow_frames[-1])[1])[:, 8:32], 1)
    for snippet in snippets[0]["flow"]:
        np.testing.assert_array_equal(snippet[9], last)
