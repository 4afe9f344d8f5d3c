"""Sets of local features as batches, beside a plain reading of them video by video."""

import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.utils.data import BatchSampler, DataLoader  # noqa: E402

from flowkit.annotations.table import Annotation, AnnotationTable, Label  # noqa: E402
from flowkit.datasets.feature_sets import FeatureSetDataset  # noqa: E402
from flowkit.datasets.loading import Batches, EpochSampler  # noqa: E402
from flowkit.datasets.sampling import sample_middles  # noqa: E402
from flowkit.errors import CorruptError, StoreError, UsageError  # noqa: E402
from flowkit.recipe import FeatureRecipe, StoreRecipe  # noqa: E402
from flowkit.store import (  # noqa: E402
    Fingerprint,
    ShardWriter,
    Store,
    VideoMeta,
    create_or_open,
    rebuild_index,
    write_annotations,
)
from flowkit.store import writer as writer_module  # noqa: E402

DIMENSIONS = {"rgb": 4, "flow": 4, "sound": 2}
CLASSES = ("wave", "jump", "turn")


def write_sets(root, counts, **options):
    """A store of sets: ``counts`` of vectors by features and video, None for none at all.

    Video n has label n % 3 and the next; vector k of it is 100·n + k + a part for the features.
    """
    recipe = StoreRecipe(
        features={
            name: FeatureRecipe(
                source="synthetic", model="m", weights="0a", dimension=DIMENSIONS[name], positions=0
            )
            for name in counts
        }
    )
    create_or_open(root, recipe)
    for name in counts:
        stream = f"features/{name}"
        writer = ShardWriter(root, stream, recipe=recipe, **options)
        for n, count in enumerate(counts[name]):
            if count is None:
                continue
            id = f"video {n:03}"
            writer.begin(id)
            for k, vector in enumerate(vectors_of(name, n, count)):  # row by row, to be split
                writer.append(vector=vector, position=k, view=0)
            writer.end(
                VideoMeta(
                    id=id, source=id, fingerprint=Fingerprint(1, 2, "0" * 32), streams=(stream,),
                    frames=count, fps=0.0, width=0, height=0,
                )
            )  # fmt: skip
        writer.close()
    return root


def vectors_of(name, n, count):
    return (100 * n + np.arange(count)[:, None] + np.linspace(0, 0.5, DIMENSIONS[name])).astype(
        np.float16
    )


def annotate(root, videos, labels=1):
    names = [tuple(Label(CLASSES[(n + j) % 3]) for j in range(labels)) for n in range(videos)]
    rows = [Annotation(f"video {n:03}", names[n], ("train",)) for n in range(videos)]
    rows.append(Annotation("video 999", (Label("wave"),), ("absent",)))
    write_annotations(root, AnnotationTable(CLASSES, tuple(rows)))
    rebuild_index(root)
    return root


@pytest.fixture
def make_sets(tmp_path):
    def make(labels=1, **counts):
        root = write_sets(tmp_path, counts)
        return annotate(root, max(map(len, counts.values())), labels)

    return make


COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=9)


@settings(max_examples=30, deadline=None)
@given(
    rgb=COUNTS,
    equal=st.booleans(),
    data=st.data(),
    roll=st.integers(500, 9000),
    batch=st.integers(8, 300),
)
def test_batches_hold_what_the_store_holds(rgb, equal, data, roll, batch):
    rgb = [rgb[0]] * len(rgb) if equal else rgb
    sound = [count // 2 for count in rgb]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "BATCH_BYTES", batch)
        root = write_sets(Path(folder), {"rgb": rgb, "sound": sound}, roll_bytes=roll)
        annotate(root, len(rgb))
        dataset = FeatureSetDataset(
            root, "train", {"a": "rgb", "b": "sound"}, may_be_empty=("a", "b")
        )
        keys = data.draw(st.lists(st.integers(0, len(rgb) - 1), min_size=1, max_size=12))
        found = dataset.batch(keys)
        assert found["row"].tolist() == keys
        assert found["label"].tolist() == [n % 3 for n in keys]
        for modality, name, counts in (("a", "rgb", rgb), ("b", "sound", sound)):
            wanted = [vectors_of(name, n, counts[n]) for n in keys]
            longest = max(map(len, wanted))
            assert found[modality].shape == (len(keys), longest, DIMENSIONS[name])
            assert found[modality].dtype == torch.float16
            assert found[f"{modality}_lengths"].dtype == torch.int64
            assert found[f"{modality}_lengths"].tolist() == list(map(len, wanted))
            for vectors, own in zip(found[modality].numpy(), wanted, strict=True):
                np.testing.assert_array_equal(vectors[: len(own)], own)
                assert not vectors[len(own) :].any()
        for modality, name, counts in (("a", "rgb", rgb), ("b", "sound", sound)):
            if sum(counts):
                every = [vectors_of(name, n, count) for n, count in enumerate(counts)]
                mean = np.concatenate(every).mean(axis=0, dtype=np.float64)
                assert dataset.mean(modality).dtype == torch.float32
                np.testing.assert_allclose(dataset.mean(modality), mean, rtol=1e-6)
            else:
                with pytest.raises(StoreError, match="at least one vector"):
                    dataset.mean(modality)


def test_one_sample_is_a_batch_of_one(make_sets):
    dataset = FeatureSetDataset(make_sets(rgb=[3, 5]), "train", {"rgb": "rgb"})
    sample = dataset[1]
    assert (len(dataset), dataset.dimensions) == (2, {"rgb": 4})
    np.testing.assert_array_equal(sample["rgb"], vectors_of("rgb", 1, 5))
    assert [int(sample[name]) for name in ("rgb_lengths", "label", "row")] == [5, 1, 1]


def test_labels(make_sets):
    root = make_sets(rgb=[1] * 4, labels=2)
    with pytest.raises(StoreError, match="several labels"):
        FeatureSetDataset(root, "train", {"rgb": "rgb"})
    dataset = FeatureSetDataset(root, "train", {"rgb": "rgb"}, multi_label=True)
    wanted = [[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert dataset.labels().dtype == torch.float32
    assert dataset.labels().tolist() == wanted
    assert dataset.batch([2, 0])["label"].tolist() == [wanted[2], wanted[0]]
    annotate(root, 4)
    assert FeatureSetDataset(root, "train", {"rgb": "rgb"}).labels().tolist() == [0, 1, 2, 0]


# --- sampling ------------------------------------------------------------------------------------


def picks(batch, modality="rgb", name="rgb"):
    """The numbers of the vectors that were taken, for each video of a batch."""
    lengths = batch[f"{modality}_lengths"].tolist()
    table = batch[modality][:, :, 0].double().numpy()
    return [
        (vectors[:length] - 100 * row).tolist()
        for vectors, length, row in zip(table, lengths, batch["row"].tolist(), strict=True)
    ]


def test_training_takes_random_distinct_vectors_in_order(make_sets):
    root = make_sets(rgb=[12, 3, 9, 0], flow=[12, 5, 9, 4])
    dataset = FeatureSetDataset(
        root, "train", {"rgb": "rgb", "flow": "flow"}, max_features={"rgb": 5}, training=True,
        may_be_empty=["rgb"], seed=3,
    )  # fmt: skip
    first = dataset.batch([(0, 0), (0, 1), (0, 2), (0, 3)])
    assert first["rgb_lengths"].tolist() == [5, 3, 5, 0]
    assert first["rgb"].shape == (4, 5, 4)
    assert first["flow_lengths"].tolist() == [12, 5, 9, 4]  # not sampled: whole
    taken = picks(first)
    assert taken[1:] == [[0, 1, 2], taken[2], []]
    for chosen, count in zip(taken, (12, 3, 9, 0), strict=True):
        assert chosen == sorted(set(chosen))
        assert set(chosen) <= set(range(count))
    # A function of seed, epoch and video, whatever else is in the batch.
    for index in range(4):
        assert picks(dataset.batch([(0, index)])) == [taken[index]]
    assert picks(dataset.batch([(0, 2), (0, 0)])) == [taken[2], taken[0]]
    assert picks(dataset.batch([0, 1, 2, 3])) == taken
    others = [picks(dataset.batch([(epoch, 0)]))[0] for epoch in range(1, 9)]
    assert len({tuple(chosen) for chosen in (*others, taken[0])}) > 5
    dataset.seed = 4
    assert [picks(dataset.batch([(e, 0)]))[0] for e in range(1, 9)] != others


def test_every_vector_is_as_likely_and_modalities_are_independent(make_sets):
    root = make_sets(rgb=[10], flow=[10])
    dataset = FeatureSetDataset(
        root, "train", {"rgb": "rgb", "flow": "flow"}, max_features=5, training=True
    )
    batch = dataset.batch([(epoch, 0) for epoch in range(4000)])
    chosen = np.zeros((2, 4000, 10))
    for m, modality in enumerate(("rgb", "flow")):
        for epoch, numbers in enumerate(picks(batch, modality)):
            chosen[m, epoch, np.array(numbers, int)] = 1
    rates = chosen.mean(axis=1)  # 0.5 ± 0.008
    assert abs(rates - 0.5).max() < 0.04
    both = (chosen[0] * chosen[1]).mean(axis=0)  # 0.25 ± 0.007
    assert abs(both - 0.25).max() < 0.035


def test_testing_takes_evenly_spaced_vectors(make_sets):
    root = make_sets(rgb=[11, 3, 7])
    dataset = FeatureSetDataset(root, "train", {"rgb": "rgb"}, max_features=4)
    batch = dataset.batch([(5, 0), (6, 1), (7, 2)])
    wanted = [sample_middles(11, 4).tolist(), [0, 1, 2], sample_middles(7, 4).tolist()]
    assert picks(batch) == wanted
    assert batch["rgb"].shape == (3, 4, 4)
    whole = FeatureSetDataset(root, "train", {"rgb": "rgb"}).batch([0, 1, 2])
    assert whole["rgb_lengths"].tolist() == [11, 3, 7]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_of_batches(make_sets, workers):
    root = make_sets(rgb=[3, 1, 4, 1, 5, 9, 2], sound=[0] * 7)
    dataset = FeatureSetDataset(
        root, "train", {"rgb": "rgb", "sound": "sound"}, max_features=2, training=True,
        may_be_empty=("sound",),
    )  # fmt: skip
    sampler = EpochSampler(len(dataset), training=True, seed=1)
    sampler.set_epoch(2)
    loader = DataLoader(
        Batches(dataset), None, sampler=BatchSampler(sampler, 3, False), num_workers=workers
    )
    keys = list(sampler)
    batches = list(loader)
    assert len(Batches(dataset)) == 7
    assert [len(batch["row"]) for batch in batches] == [3, 3, 1]
    for start, batch in zip((0, 3, 6), batches, strict=True):
        wanted = dataset.batch(keys[start : start + 3])
        assert batch.keys() == wanted.keys()
        for name, values in wanted.items():
            torch.testing.assert_close(batch[name], values, rtol=0, atol=0)
        assert batch["sound"].shape == (len(batch["row"]), 0, 2)
        assert batch["rgb"].is_shared() == bool(workers)


def test_it_pickles_without_maps(make_sets):
    root = make_sets(rgb=[3, 5])
    dataset = FeatureSetDataset(root, "train", {"rgb": "rgb"})
    wanted = dataset.batch([0, 1])
    text = pickle.dumps(dataset)
    assert len(text) < 5000
    found = pickle.loads(text).batch([0, 1])
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    annotate(root, 1)  # another index: what the pickle says of places may be wrong by now
    with pytest.raises(StoreError, match="rebuilt meanwhile"):
        pickle.loads(text).batch([0, 1])


# --- what is refused -----------------------------------------------------------------------------


def test_features_that_the_store_lacks(make_sets):
    root = make_sets(rgb=[1], flow=[1])
    with pytest.raises(StoreError, match=r"its features \(flow, rgb\), got 'sound'.*--name sound"):
        FeatureSetDataset(root, "train", {"audio": "sound"})


def test_videos_that_lack_features(make_sets):
    root = make_sets(rgb=[1] * 9, flow=[1, 1, None, None, None, None, None, None, 1])
    with pytest.raises(StoreError) as caught:
        FeatureSetDataset(root, "train", {"a": "rgb", "b": "flow"}, may_be_empty=["b"])
    message = str(caught.value)
    assert "6 of 9 videos of subset 'train' have no features/flow" in message
    assert "'video 006' and 1 more" in message
    assert "'video 007'" not in message
    assert FeatureSetDataset(root, "train", {"a": "rgb"})


def test_empty_sets_are_refused_unless_they_may_be(make_sets):
    root = make_sets(rgb=[1] * 4, sound=[2, 0, 1, 0])
    with pytest.raises(StoreError, match=r"2 of 4 .*\('video 001', 'video 003'\)") as caught:
        FeatureSetDataset(root, "train", {"rgb": "rgb", "audio": "sound"})
    assert "no vectors in features/sound: add audio to may_be_empty" in str(caught.value)
    streams = {"rgb": "rgb", "audio": "sound"}
    dataset = FeatureSetDataset(root, "train", streams, may_be_empty=["audio"])
    assert dataset.batch([1])["audio"].shape == (1, 0, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"feature_names": {}},
        {"feature_names": {"label": "rgb"}},
        {"feature_names": {"a": "rgb", "a_lengths": "rgb"}},
        {"max_features": 0},
        {"max_features": {"rgb": -1}},
        {"max_features": {"flow": 1}},
        {"may_be_empty": ["flow"]},
        {"subset": "absent"},
        {"subset": "nowhere"},
    ],
)
def test_wrong_names_and_numbers(make_sets, options):
    arguments = {"store": make_sets(rgb=[1]), "subset": "train", "feature_names": {"rgb": "rgb"}}
    with pytest.raises(UsageError, match="expected"):
        FeatureSetDataset(**(arguments | options))


def test_vectors_of_another_dimension_than_the_recipe_says(make_sets):
    root = make_sets(rgb=[3])
    header = json.loads((root / "store.json").read_text())
    header["recipe"]["features"]["rgb"]["dimension"] = 6
    (root / "store.json").write_text(json.dumps(header))
    with pytest.raises(CorruptError, match="expected vectors of 6 float16 values"):
        FeatureSetDataset(root, "train", {"rgb": "rgb"})


def test_a_shard_that_is_cut_or_gone(make_sets):
    root = make_sets(rgb=[30] * 3)
    (shard,) = (root / "features/rgb").glob("*.arrow")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptError, match="verify --repair"):
        FeatureSetDataset(root, "train", {"rgb": "rgb"})
    shard.unlink()
    with pytest.raises(CorruptError, match="found no file"):
        FeatureSetDataset(Store(root), "train", {"rgb": "rgb"})


@pytest.mark.parametrize("counts", [[4, 4], [4, 7]])
def test_damaged_vectors_are_refused_by_a_store_that_checks_what_is_read(make_sets, counts):
    root = make_sets(rgb=counts)
    (shard,) = (root / "features/rgb").glob("*.arrow")

    def read(**options):
        return FeatureSetDataset(Store(root, **options), "train", {"rgb": "rgb"}).batch([0, 1])

    intact = read(verify="read")["rgb"]
    store = Store(root)
    location = store.index.locate("features/rgb", 0)
    _, extent = store.shards.locate(*location[:2], "vector")
    data = bytearray(shard.read_bytes())
    data[extent.values_position] ^= 1
    shard.write_bytes(data)
    assert not torch.equal(read()["rgb"], intact)
    with pytest.raises(CorruptError, match=r"video '.*': .*checksum mismatch in column vector"):
        read(verify="read")
