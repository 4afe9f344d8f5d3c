"""Views for features: the same pixels as the datasets', each image decoded once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowkit.datasets import stream_readers
from flowkit.datasets.clips import ClipDataset
from flowkit.datasets.sampling import ClipSampling, sample_middles
from flowkit.datasets.snippets import SnippetDataset
from flowkit.datasets.transforms import CentreCrop, TenCrop, ThreeCrop
from flowkit.datasets.views import (
    PositionSampling,
    ViewReader,
    assemble_views,
    cut_video,
    pack_chunks,
)
from flowkit.errors import CorruptError, UsageError
from flowkit.store import Store

SAMPLINGS = st.builds(
    PositionSampling,
    source=st.just("flow"),
    positions=st.integers(0, 30),
    length=st.integers(1, 8),
    stride=st.integers(1, 4),
)


@given(st.integers(1, 60), SAMPLINGS, st.integers(1, 12))
def test_pieces_decode_each_image_once_and_give_every_position_its_own(available, sampling, most):
    starts, counts = sampling.sample_starts(available)
    assert counts.sum() == (sampling.positions or len(starts))
    held, decoded, found = [], [], []
    for chunk in cut_video("a", available, sampling, most):
        assert len(chunk.starts) <= most
        held = [held[k] for k in chunk.kept] + chunk.times.tolist()
        decoded += chunk.times.tolist()
        found += [[held[i] for i in row] for row in chunk.image_indices]
    assert len(decoded) == len(set(decoded))
    assert found == sampling.list_image_times(starts, available).tolist()
    assert set(decoded) == {t for row in found for t in row}


def test_positions_are_the_middles_and_repeat_in_a_short_video():
    sampling = PositionSampling(source="rgb", positions=25)
    starts, counts = sampling.sample_starts(246)
    assert starts.tolist()[:4] == [4, 14, 24, 34]  # TSN's
    starts, counts = sampling.sample_starts(10)
    assert np.repeat(starts, counts).tolist() == sample_middles(10, 25).tolist()
    starts, counts = sampling.sample_starts(0)
    assert (len(starts), len(counts)) == (0, 0)


def test_an_empty_video_is_one_piece_without_images():
    (chunk,) = cut_video("silent", 0, PositionSampling(source="audio", positions=0), 8)
    assert (chunk.is_first, chunk.is_last) == (True, True)
    assert (len(chunk.times), chunk.image_indices.shape) == (0, (0, 1))


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 16))
def test_batches_hold_whole_videos_in_order(lengths, most):
    sampling = PositionSampling(source="rgb", positions=0)
    chunks = [p for n, k in enumerate(lengths) for p in cut_video(str(n), k, sampling, most)]
    batches = list(pack_chunks(chunks, most))
    assert [chunk for batch in batches for chunk in batch] == chunks
    for batch in batches:
        assert sum(len(chunk.starts) for chunk in batch) <= most
        assert len(batch) == 1 or all(chunk.is_first and chunk.is_last for chunk in batch)


def read(store, ids, sampling, crops, clips=False, most=100):
    """What a network would be given of some videos, one after another."""
    reader, parts = ViewReader(store.path, sampling.source, crops), []
    for id in ids:
        place = store.index.locate(sampling.source, store.find(id))
        held = torch.empty(0, dtype=torch.uint8)
        for chunk in cut_video(id, place[3] - (sampling.source == "flow"), sampling, most):
            item = reader[[chunk]]
            assert not item["errors"]
            held = torch.cat([held[chunk.kept], item["images"]]) if len(held) else item["images"]
            parts.append(assemble_views(held, torch.from_numpy(chunk.image_indices), clips))
    return torch.cat(parts)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("crops", [CentreCrop(16), TenCrop(16)])
@pytest.mark.parametrize("most", [100, 2])
def test_snippets_are_those_of_the_dataset(make_store, stream, crops, most):
    store = Store(make_store(frames=14))
    dataset = SnippetDataset(store, "train", 4, streams=(stream,), crops=crops, as_bytes=True)
    sampling = PositionSampling(source=stream, positions=4, length=5 if stream == "flow" else 1)
    for sample in (dataset[i] for i in range(len(dataset))):
        id = store.index.id(int(sample["row"]))
        assert torch.equal(read(store, [id], sampling, crops, most=most), sample[stream])


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_clips_are_those_of_the_dataset(make_store, stream):
    store = Store(make_store(frames=8))
    clips = ClipSampling(length=4, stride=2, clips=3)
    dataset = ClipDataset(
        store, "train", clips, streams=(stream,), crops=ThreeCrop(16), as_bytes=True
    )
    sampling = PositionSampling(source=stream, positions=3, length=4, stride=2)
    for sample in (dataset[i] for i in range(len(dataset))):
        id, out = store.index.id(int(sample["row"])), sample[stream]
        starts, counts = sampling.sample_starts(dataset.subset.count(int(sample["row"]), stream))
        views = read(store, [id], sampling, ThreeCrop(16), clips=True)
        rows = np.repeat(np.arange(len(starts)), counts)
        picked = views.unflatten(0, (-1, 3))[torch.from_numpy(rows)].flatten(0, 1)
        assert torch.equal(picked, out)


def test_each_jpeg_is_decoded_once(make_store, monkeypatch):
    decoded = []
    for name in ("decode_rgb", "decode_grey"):
        real = getattr(stream_readers, name)
        monkeypatch.setattr(
            stream_readers, name, lambda data, real=real: decoded.append(data) or real(data)
        )
    store = Store(make_store(["a"], frames=20))
    read(store, ["a"], PositionSampling(source="flow", positions=25, length=5), TenCrop(16))
    assert len(decoded) == 2 * 19
    decoded.clear()
    clips = PositionSampling(source="rgb", positions=10, length=8)
    read(store, ["a"], clips, ThreeCrop(16), clips=True, most=3)
    assert len(decoded) == 20


def test_one_broken_video_spoils_no_other(make_store, monkeypatch):
    store = Store(make_store(["a", "b"], frames=6))
    sampling, first = PositionSampling(source="rgb", positions=3), []

    def decode(data, real=stream_readers.decode_rgb):
        if not first:
            first.append(data)
            raise CorruptError("expected a JPEG image")
        return real(data)

    whole = read(store, ["b"], sampling, CentreCrop(16))
    monkeypatch.setattr(stream_readers, "decode_rgb", decode)
    chunks = [p for id, n in (("a", 6), ("b", 7)) for p in cut_video(id, n, sampling, 10)]
    item = ViewReader(store.path, "rgb", CentreCrop(16))[chunks]
    assert item["errors"] == {0: "expected a JPEG image"}
    assert not item["images"][:3].any()
    assert torch.equal(item["images"][3:, 0], whole)


def test_bad_samplings():
    with pytest.raises(
        UsageError, match="expected positions of at least 0, and length and stride of at least 1"
    ):
        PositionSampling(source="rgb", positions=-1)
    with pytest.raises(UsageError, match="got positions 3, length 0 and stride 1"):
        PositionSampling(source="rgb", positions=3, length=0)


@given(st.integers(1, 40), SAMPLINGS, st.integers(1, 12), st.integers(1, 5))
def test_backward_flow_starts_at_its_first_frame(available, sampling, most, first):
    plain, shifted = (list(cut_video("a", available, sampling, most, k)) for k in (0, first))
    assert len(plain) == len(shifted)
    for one, other in zip(plain, shifted, strict=True):
        for name in ("starts", "times"):
            assert (getattr(one, name) + first).tolist() == getattr(other, name).tolist()
        for name in ("counts", "kept", "image_indices"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()


def test_backward_flow_is_read_at_its_frames(make_store):
    store = Store(make_store(("a",), frames=7, step=-2))
    sampling = PositionSampling(source="flow", positions=0)
    available = store.index.count("flow", 0)
    (chunk,) = cut_video("a", available, sampling, 100, 2)
    assert chunk.times.tolist() == list(store["a"].flow_frames) == [2, 3, 4, 5, 6]
    assert not ViewReader(store.path, "flow", CentreCrop(16))[[chunk]]["errors"]
