"""Log-mel patches as samples."""

import numpy as np
import pytest
import torch

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.datasets.patches import PatchDataset
from flowkit.datasets.snippets import SnippetDataset
from flowkit.errors import StoreError, UsageError
from flowkit.recipe import LogMelRecipe, StoreRecipe
from flowkit.store import (
    Fingerprint,
    ShardWriter,
    Store,
    VideoMeta,
    create_or_open,
    rebuild_index,
    write_annotations,
)


@pytest.fixture
def store(tmp_path):
    """Four videos of 7, 2, 0 and 5 patches; patch k of video n is 100n + k throughout."""
    recipe = StoreRecipe(audio=LogMelRecipe())
    create_or_open(tmp_path / "S", recipe)
    writer = ShardWriter(tmp_path / "S", "audio", recipe=recipe)
    rows = []
    for number, count in enumerate((7, 2, 0, 5)):
        id = f"video {number}"
        writer.begin(id)
        for k in range(count):
            writer.append(patch=np.full((96, 64), 100 * number + k, np.float32))
        mark = Fingerprint(number, number, "0" * 32)
        writer.end(VideoMeta(id=id, source=id, fingerprint=mark, streams=("audio",), frames=count,
                             fps=1.0, width=0, height=0))  # fmt: skip
        loud = ("all", "loud") if count else ("all",)
        rows.append(Annotation(id, (Label("xy"[number % 2]),), loud))
    writer.close()
    write_annotations(tmp_path / "S", AnnotationTable(("x", "y"), tuple(rows)))
    rebuild_index(tmp_path / "S")
    return Store(tmp_path / "S")


def values(sample):
    return sample["audio"][:, 0, 0, 0].int().tolist()


def test_testing_takes_the_middles_or_all(store):
    dataset = PatchDataset(store, "loud", 3)
    assert [values(dataset[i]) for i in range(3)] == [[1, 3, 5], [100, 101, 101], [300, 302, 304]]
    assert dataset[0]["audio"].shape == (3, 1, 96, 64)
    assert [int(dataset[i]["label"]) for i in range(3)] == [0, 1, 1]
    everything = PatchDataset(store, "loud", 0)
    assert [len(everything[i]["audio"]) for i in range(3)] == [7, 2, 5]


def test_training_draws_by_epoch_and_video_from_each_segment(store):
    dataset = PatchDataset(store, "loud", 3, training=True, seed=1)
    drawn = {tuple(values(dataset[epoch, 0])) for epoch in range(60)}
    assert drawn == {(a, b, c) for a in (0, 1) for b in (2, 3) for c in (4, 5, 6)}
    assert values(dataset[5, 0]) == values(
        PatchDataset(store, "loud", 3, training=True, seed=1)[5, 0]
    )


def test_batches_are_samples_together(store):
    dataset = PatchDataset(store, "loud", 2, training=True)
    keys = [(4, 2), (4, 0)]
    batch = dataset.batch(keys)
    assert batch["audio"].shape == (2, 2, 1, 96, 64)
    for i, key in enumerate(keys):
        assert torch.equal(batch["audio"][i], dataset[key]["audio"])
    with pytest.raises(UsageError, match="their number differs"):
        PatchDataset(store, "loud", 0).batch(keys)


def test_silence_is_refused_or_left_out_and_counted(store):
    with pytest.raises(StoreError, match=r"1 of 4 videos .* no sound.*'video 2'"):
        PatchDataset(store, "all", 2)
    dataset = PatchDataset(store, "all", 2, leave_out_silent=True)
    assert (len(dataset), dataset.silent, dataset.rows.tolist()) == (3, 1, [0, 1, 3])


def test_bad_input(store, make_store):
    with pytest.raises(UsageError, match="at least 1 for training"):
        PatchDataset(store, "all", 0, training=True)
    with pytest.raises(StoreError, match="no audio: extract it with --streams audio"):
        PatchDataset(make_store(), "train", 1)
    with pytest.raises(UsageError, match="expected streams rgb, flow or both, got audio"):
        SnippetDataset(store, "all", 1, streams=("audio",))
