import cv2
import numpy as np
import pytest

from flowkit.errors import CorruptError
from flowkit.store.format.jpeg import decode_grey, decode_rgb, encode_grey, encode_rgb


def smooth(height, width, channels):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, 5, channels)).astype(np.float32)
    image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8).reshape(height, width, channels)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("size", [(64, 48), (33, 47), (1, 1)])
def test_rgb(subsampling, size):
    frame = smooth(*size, 3)
    data = encode_rgb(frame, 98, subsampling)
    assert decode_rgb(data).shape == frame.shape
    assert np.abs(decode_rgb(data).astype(int) - frame).mean() < 4
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decode_rgb(data).astype(int) - other).mean() < 1.5


def test_subsampling_and_quality_decide_the_size():
    frame = smooth(64, 64, 3)
    sizes = [len(encode_rgb(frame, 95, name)) for name in ("4:2:0", "4:2:2", "4:4:4")]
    assert sizes == sorted(set(sizes))
    assert len(encode_rgb(frame, 50)) < sizes[0]


@pytest.mark.parametrize("size", [(64, 48), (33, 47), (1, 1)])
def test_grey(size):
    plane = smooth(*size, 1).reshape(size)
    data = encode_grey(plane, 95)
    assert decode_grey(data).shape == size
    assert np.abs(decode_grey(data).astype(int) - plane).max() <= 8
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decode_grey(data), other)


def test_zero_motion_survives_exactly():
    for quality in (1, 50, 95):
        plane = np.full((40, 24), 128, np.uint8)
        assert np.array_equal(decode_grey(encode_grey(plane, quality)), plane)


def test_views_that_are_not_contiguous():
    frame = smooth(48, 64, 3)
    assert encode_rgb(frame[:, ::-1]) == encode_rgb(frame[:, ::-1].copy())
    assert encode_grey(frame[..., 1]) == encode_grey(frame[..., 1].copy())


def test_what_is_no_whole_image():
    data = encode_grey(smooth(48, 64, 1)[..., 0])
    for bad in (b"", b"x", data[:20], data[: len(data) // 2], data[:-2], b"\x00" * 500):
        with pytest.raises(CorruptError, match="JPEG"):
            decode_grey(bad)
        with pytest.raises(CorruptError, match="JPEG"):
            decode_rgb(bad)
