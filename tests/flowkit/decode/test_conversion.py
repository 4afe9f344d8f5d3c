"""Our conversion makes the bytes of swscale and of OpenCV's INTER_AREA."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.decode.conversion import KERNEL_FORMATS, FrameConverter
from flowkit.decode.conversion_kernel import (
    CHROMA_POSITIONS,
    MATRICES,
    can_downscale,
    compute_factors,
    compute_taps,
    convert_and_downscale,
    convert_frame,
)
from flowkit.decode.orientation import Orientation
from flowkit.errors import VideoError

halves = st.integers(8, 70)


def make_frame(height, width, seed, matrix=2, color_range=0, format="yuv420p"):
    """A frame of noise, values outside of the legal range included."""
    random = np.random.default_rng(seed)
    frame = av.VideoFrame(width, height, format)
    for plane in frame.planes:
        values = np.asarray(memoryview(plane)).reshape(-1, plane.line_size)
        values[: plane.height] = random.choice(
            [random.integers(0, 256, values.shape), random.choice([0, 255], values.shape)]
        )[: plane.height]
    frame.colorspace, frame.color_range = matrix, color_range
    return frame


def make_converter(width, height, area=True, orientation=None):
    return FrameConverter((width, height), area, orientation or Orientation(), "noise.mp4")


@settings(max_examples=60, deadline=None)
@given(halves, halves, st.integers(0, 99), st.sampled_from(sorted(MATRICES)), st.integers(0, 2))
def test_the_bytes_are_those_of_swscale(half_height, half_width, seed, matrix, color_range):
    height, width = 2 * half_height, 2 * half_width
    frame = make_frame(height, width, seed, matrix, color_range)
    converter = make_converter(width, height)
    made = converter.convert_with_kernel(frame)
    assert made is not None
    np.testing.assert_array_equal(made, converter.convert_with_swscale(frame))


@pytest.mark.parametrize(("width", "height"), [(32, 16), (48, 16), (16, 16)])
def test_a_frame_of_the_size_of_the_probe_is_left_as_it_is(width, height):
    frame, converter = make_frame(height, width, 3), make_converter(width, height)
    before = converter.convert_with_swscale(frame)
    np.testing.assert_array_equal(converter.convert_with_kernel(frame), before)
    np.testing.assert_array_equal(converter.convert_with_swscale(frame), before)


def test_a_frame_that_swscale_refuses_is_a_fault_of_the_video(monkeypatch):
    def refuse(*arguments, **options):
        raise av.error.OSError(95, "Operation not supported")

    monkeypatch.setattr("flowkit.decode.conversion.convert_to_rgb", refuse)
    with pytest.raises(VideoError, match=r"noise\.mp4: cannot convert yuv420p to RGB"):
        make_converter(30, 20).convert(make_frame(20, 30, 0))


def test_full_range_by_the_name_of_the_format():
    frame = make_frame(20, 30, 0, format="yuvj420p")
    converter = make_converter(30, 20)
    expected = converter.convert_with_swscale(frame)
    np.testing.assert_array_equal(converter.convert_with_kernel(frame), expected)


@settings(max_examples=60, deadline=None)
@given(halves, halves, st.integers(1, 140), st.integers(1, 140), st.integers(0, 99))
def test_the_bytes_are_those_of_opencv(half_height, half_width, height, width, seed):
    size = (2 * half_height, 2 * half_width)
    target = (min(height, size[0]), min(width, size[1]))
    random = np.random.default_rng(seed)
    y = random.integers(0, 256, size, np.uint8)
    u, v = (random.integers(0, 256, (half_height, half_width), np.uint8) for _ in "uv")
    chroma = np.array([CHROMA_POSITIONS["first"], CHROMA_POSITIONS["between"]], np.int32)
    factors = compute_factors(1, full_range=False)
    if can_downscale(size, target):
        rows, columns = compute_taps(size[0], target[0]), compute_taps(size[1], target[1])
        expected = cv2.resize(
            convert_frame(y, u, v, size[1], chroma, factors),
            target[::-1],
            interpolation=cv2.INTER_AREA,
        )
        made = convert_and_downscale(y, u, v, size[1], chroma, factors, *columns, *rows)
        np.testing.assert_array_equal(made, expected)
    else:
        assert size[0] % target[0] == 0
        assert size[1] % target[1] == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.data())
def test_weights_of_taps_add_up(size, data):
    target = data.draw(st.integers(1, size))
    taps = compute_taps(size, target)
    np.testing.assert_allclose(taps.weights.sum(axis=0), 1, atol=1e-3)
    assert taps.pixels.min() >= 0
    assert taps.pixels.max() < size


@pytest.mark.parametrize(
    ("height", "width", "format", "matrix"),
    [
        (20, 31, "yuv420p", 2),
        (21, 30, "yuv420p", 2),
        (4, 30, "yuv420p", 2),
        (20, 30, "yuv444p", 2),
        (20, 30, "yuv420p", 4),
    ],
    ids=["odd width", "odd height", "small", "other format", "FCC"],
)
def test_what_the_kernel_cannot_do_goes_through_swscale(height, width, format, matrix):
    frame, converter = make_frame(height, width, 0, matrix, format=format), make_converter(10, 4)
    assert converter.convert_with_kernel(frame) is None
    expected = converter.convert_with_swscale(frame)
    expected = cv2.resize(expected, (10, 4), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(converter.convert(frame), expected)


@pytest.mark.parametrize("size", [(20, 12), (31, 24), (64, 48), (90, 60), (128, 20)])
@pytest.mark.parametrize("area", [True, False])
@pytest.mark.parametrize("turned", [False, True])
def test_sizes_and_turns(size, area, turned):
    orientation = Orientation(transpose=True, flip_x=True, rotation=90) if turned else Orientation()
    frame, converter = make_frame(48, 64, 1), make_converter(*size, area, orientation)
    picture = np.ascontiguousarray(orientation.apply(converter.convert_with_swscale(frame)))
    grows = size[0] > picture.shape[1] or size[1] > picture.shape[0]
    filter = cv2.INTER_AREA if area and not grows else cv2.INTER_LINEAR
    expected = cv2.resize(picture, size, interpolation=filter)
    made = converter.convert(frame)
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("location", range(6))
def test_chroma_lies_where_swscale_takes_it(tmp_path, location):
    """The decoder's frames say it, as the stream does, and swscale looks at it."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        options = {"x264-params": f"chromaloc={location}"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(make_frame(48, 64, 2)))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    converter = make_converter(64, 48)
    expected = converter.convert_with_swscale(frame)
    np.testing.assert_array_equal(converter.convert_with_kernel(frame), expected)


def test_real_clips(shared_data: Path):
    for path in sorted((shared_data / "clips").iterdir()):
        with av.open(str(path)) as container:
            for frame, _ in zip(container.decode(video=0), range(12), strict=False):
                assert frame.format.name in KERNEL_FORMATS
                converter = make_converter(frame.width, frame.height)
                expected = converter.convert_with_swscale(frame)
                np.testing.assert_array_equal(converter.convert_with_kernel(frame), expected)
