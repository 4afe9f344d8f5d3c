"""Images are cut into windows as they arrive: the right ones, and no more are kept than needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.datasets.transforms import CentreCrop
from flowkit.extraction.image_chunks import ImageChunk
from train.feature_files.window_images import StreamInput, WindowImages
from train.feature_files.windows import WindowSampling

WINDOWS = st.builds(
    WindowSampling,
    length=st.integers(1, 6),
    stride=st.integers(1, 20),
    step=st.integers(1, 3),
    placement=st.sampled_from(["whole", "covering", "centred"]),
    last_frame=st.sampled_from(["keep", "drop"]),
)


def make_images(windows, batch_rows, streams=("rgb", "flow"), is_3d=True, images=None):
    input = StreamInput(images=images or windows.length, crops=CentreCrop(1), is_3d=is_3d)
    return WindowImages(dict.fromkeys(streams, input), windows, batch_rows)


def make_chunks(frames, sizes):
    """Number frames and flow fields from 1; flow arrives one frame late, as it is computed."""
    start, sizes = 0, list(sizes)
    while start < frames:
        end = min(frames, start + (sizes.pop(0) if sizes else 7))
        rgb = [np.full((1, 1, 3), t % 255 + 1, np.uint8) for t in range(start, end)]
        fields = range(max(0, start - 1), end - 1)
        flow = [np.full((1, 1, 2), t % 255 + 1, np.uint8) for t in fields]
        yield ImageChunk(rgb=rgb, flow=flow, times=[None] * (end - start))
        start = end


@settings(max_examples=100)
@given(WINDOWS, st.integers(2, 120), st.lists(st.integers(1, 30), max_size=6), st.integers(1, 5))
def test_windows_are_those_of_the_whole_video(windows, frames, sizes, batch_rows):
    """Whatever the chunks; all batches but the last have the same number of rows."""
    images = make_images(windows, batch_rows)
    batches = list(images.make_batches(make_chunks(frames, sizes)))
    rows = windows.count_rows(frames)
    full = [batch_rows] * (rows // batch_rows)
    assert [batch.rows for batch in batches] == full + [rows % batch_rows] * (rows % batch_rows > 0)
    expected = windows.list_frames(frames)
    for stream, count in (("rgb", frames), ("flow", frames - 1)):
        seen = np.concatenate([batch.inputs[stream].numpy() for batch in batches])
        assert seen.shape[:1] + seen.shape[2:] == (rows, windows.length, 1, 1)
        assert (seen[:, 0, :, 0, 0] == expected.clip(0, count - 1) % 255 + 1).all()


@settings(max_examples=60)
@given(st.integers(1, 9), st.integers(2, 60), st.integers(1, 5), st.integers(2, 6))
def test_snippets_of_flow_start_at_the_frame_of_the_row(stride, frames, batch_rows, fields):
    """2-D networks of flow see fields t … t + L - 1; the last ones are repeated at the end."""
    windows = WindowSampling(length=1, stride=stride)
    images = make_images(windows, batch_rows, ("flow",), is_3d=False, images=fields)
    batches = list(images.make_batches(make_chunks(frames, [5, 3])))
    seen = np.concatenate([batch.inputs["flow"].numpy() for batch in batches])[:, ::2, 0, 0]
    indices = np.arange(0, frames, stride)[:, None] + np.arange(fields)
    assert (seen == indices.clip(0, frames - 2) % 255 + 1).all()


@pytest.mark.parametrize(
    ("windows", "batch_rows", "bound"),
    [
        (WindowSampling(length=16, stride=4), 4, 16 + 4 * 4 + 8),
        (WindowSampling(length=16, stride=16), 4, 4 * 16 + 8 + 2),
        (WindowSampling(length=2, stride=1000), 4, 4 * 2 + 8 + 2),
        (WindowSampling(length=1, stride=250), 32, 32 + 8 + 2),
        (WindowSampling(length=4, stride=900, step=100), 2, 2 * 4 + 8 + 2),
        (WindowSampling(length=16, stride=1, placement="centred"), 4, 16 + 4 + 8),
    ],
    ids=str,
)
def test_memory_is_bounded(windows, batch_rows, bound):
    images, kept = make_images(windows, batch_rows), []

    def watch():
        for chunk in make_chunks(3_000, []):
            yield chunk
            kept.append(max(len(stream.images) for stream in images._streams.values()))

    rows = sum(batch.rows for batch in images.make_batches(watch()))
    assert rows == windows.count_rows(3_000)
    assert max(kept) <= bound
