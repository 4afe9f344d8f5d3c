"""The length of a video's flow, measured from its quantized flow."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.annotations import explicit_files
from flowkit.extraction import Options, extract
from flowkit.extraction.motion import ROW_STRIDE, MotionHistogram
from flowkit.flow import dequantize, quantize
from flowkit.store import Motion, Store, rebuild_index
from flowkit.store.format.records import read_record, record_paths


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12), st.floats(0.5, 64))
def test_lengths_are_those_of_the_counted_rows(seed, width, height, bound):
    rng = np.random.default_rng(seed)
    flow = rng.integers(1, 256, (3, height, width, 2), np.uint8)
    histogram = MotionHistogram()
    histogram.add(flow[:1])
    histogram.add(flow[:0:-1])  # as backward flow comes
    lengths = np.linalg.norm(dequantize(flow[:, ::ROW_STRIDE], bound), axis=-1).ravel()
    mean, p95 = histogram.summarize(bound)
    assert mean == pytest.approx(lengths.mean(), abs=1e-3)
    expected = np.percentile(lengths, 95, method="inverted_cdf")
    assert p95 == pytest.approx(expected, abs=1e-3)


def test_no_motion_is_zero_and_no_flow_is_unknown():
    histogram = MotionHistogram()
    assert histogram.summarize(20.0) is None
    histogram.add(quantize(np.zeros((2, 8, 8, 2), np.float32)))
    assert histogram.summarize(20.0) == Motion(0.0, 0.0)


def test_an_extraction_records_it(tmp_path, make_clip, recipe):
    moving, still = make_clip(tmp_path / "moving.mp4", frames=20), tmp_path / "still.mp4"
    make_clip(still, frames=2)
    root = tmp_path / "S"
    only_rgb = replace(recipe, flow=None)
    extract(explicit_files([still]), root, only_rgb, Options(workers=0, streams=("rgb",)))
    extract(explicit_files([moving]), root, recipe, Options(workers=0))
    store = Store(root)
    assert store["still.mp4"].motion is None
    video = store["moving.mp4"]
    flow = np.stack([video.flow(t)[::ROW_STRIDE] for t in video.flow_frames])
    lengths = np.linalg.norm(flow, axis=-1)
    mean, p95 = video.motion
    assert mean == pytest.approx(lengths.mean(), abs=0.1)  # JPEG changes it a little
    assert p95 == pytest.approx(np.percentile(lengths, 95), abs=0.3)
    # The flow is added to a store that has RGB: the index finds it there.
    extract(explicit_files([still]), root, recipe, Options(workers=0))
    motion = Store(root)["still.mp4"].motion
    assert motion is not None
    records = [v for path in record_paths(root) for v in read_record(path).videos]
    assert sorted(v.motion is None for v in records) == [False, False, True]
    rebuild_index(root, scratch=True)
    assert Store(root)["still.mp4"].motion == motion
