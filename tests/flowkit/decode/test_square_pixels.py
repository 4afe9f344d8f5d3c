"""Pixels that are not square: what is read of a file, and which sizes undo them."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.decode import VideoReader, probe_video, read_video
from flowkit.errors import UsageError
from flowkit.recipe import Resize

PAL = Fraction(16, 15)
"""Pixel aspect ratio of 4:3 television in 720×576."""


def make_resize(side: int | None, *, square: bool = True, upsize: bool = False) -> Resize:
    """The resize ``short-side``, or ``none`` without a side."""
    mode = "none" if side is None else "short-side"
    return Resize(mode=mode, side=side, square_pixels=square, upsize=upsize)


@pytest.mark.parametrize(
    ("width", "height", "ratio", "side", "size"),
    [
        (720, 576, PAL, 256, (341, 256)),  # shown as 768×576
        (720, 576, PAL, None, (768, 576)),
        (720, 576, PAL, 576, (768, 576)),  # not enlarged, and square all the same
        (720, 576, Fraction(64, 45), 256, (455, 256)),  # shown as 1024×576
        (352, 288, Fraction(1, 2), 144, (144, 236)),  # shown as 176×288: the width is shorter
        (340, 256, Fraction(64, 51), 256, (427, 256)),  # a clip of Kinetics, 5:3
        (8, 8, Fraction(1, 100), None, (1, 8)),
        (720, 576, Fraction(1), 256, (320, 256)),
    ],
)
def test_sizes(
    width: int, height: int, ratio: Fraction, side: int | None, size: tuple[int, int]
) -> None:
    assert make_resize(side).compute_size(width, height, ratio) == size


def test_other_modes_do_not_undo_them() -> None:
    assert make_resize(256, square=False).compute_size(720, 576, PAL) == (320, 256)
    assert make_resize(None, square=False).compute_size(720, 576, PAL) == (720, 576)
    assert Resize(width=256, height=256).compute_size(720, 576, PAL) == (256, 256)
    with pytest.raises(UsageError, match="needs resize mode short-side or none"):
        Resize(width=256, height=256, square_pixels=True)


@given(
    width=st.integers(16, 4000),
    height=st.integers(16, 4000),
    ratio=st.fractions(Fraction(1, 3), 3, max_denominator=100),
    side=st.integers(64, 512),
)
def test_the_shown_aspect_ratio_is_kept(
    width: int, height: int, ratio: Fraction, side: int
) -> None:
    stored = make_resize(side, upsize=True).compute_size(width, height, ratio)
    assert min(stored) == side
    # Half a pixel of the longer side is the largest error.
    shown = width * ratio / height
    long_side = side * max(shown, 1 / shown)
    assert abs(max(stored) - long_side) <= Fraction(1, 2)
    assert (stored[0] >= stored[1]) == (shown >= 1) or stored[0] == stored[1]


@given(width=st.integers(1, 4000), height=st.integers(1, 4000), side=st.integers(1, 512))
def test_square_pixels_change_no_size(width: int, height: int, side: int) -> None:
    sizes = {make_resize(side, square=s).compute_size(width, height) for s in (True, False)}
    assert len(sizes) == 1


@pytest.fixture
def mux_wide(mux: Any) -> Any:
    """``mux_wide(name, …)``: three frames of 72×48 noise whose pixels are 16:15."""

    def make(name: str, **options: Any) -> Path:
        def prepare(stream: Any) -> None:
            stream.codec_context.sample_aspect_ratio = PAL
            options.get("more", lambda stream: None)(stream)

        pictures = np.random.default_rng(0).integers(0, 255, (3, 48, 72, 3), np.uint8)
        path: Path = mux(name, pictures, prepare=prepare)
        return path

    return make


@pytest.mark.parametrize("name", ["w.mp4", "w.mkv", "w.ts", "w.h264"])
def test_the_ratio_of_a_file(name: str, mux_wide: Any) -> None:
    path = mux_wide(name)
    assert probe_video(path).pixel_aspect_ratio == PAL
    assert read_video(path, make_resize(None)).shape == (3, 48, 77, 3)
    assert read_video(path, make_resize(24)).shape == (3, 24, 38, 3)


def test_a_file_that_states_no_ratio(mux: Any, count_picture: Any) -> None:
    path = mux("n.mp4", [count_picture(0)] * 2)
    assert probe_video(path).pixel_aspect_ratio == 1
    assert read_video(path, make_resize(None)).shape == (2, 48, 64, 3)


def test_frames_are_stretched_in_one_resize(mux_wide: Any) -> None:
    path = mux_wide("w.mkv")
    raw = read_video(path)[0]
    small = read_video(path, make_resize(24))[0]
    np.testing.assert_array_equal(small, cv2.resize(raw, (38, 24), interpolation=cv2.INTER_AREA))


def test_a_rotated_video(mux_wide: Any) -> None:
    path = mux_wide("r.mp4", more=lambda stream: stream.set_display_rotation(90))
    info = probe_video(path)
    assert (info.width, info.height, info.pixel_aspect_ratio) == (48, 72, 1 / PAL)
    assert read_video(path, make_resize(24)).shape == (3, 38, 24, 3)


@pytest.mark.parametrize(
    ("resize", "is_warned"),
    [
        (make_resize(24, square=False), True),
        (make_resize(None, square=False), True),
        (make_resize(24), False),
        (Resize(width=32, height=32), False),  # stretched to this size in any case
    ],
)
def test_pixels_that_stay_so_are_said(resize: Resize, is_warned: bool, mux_wide: Any) -> None:
    with VideoReader(mux_wide("w.mp4"), resize) as reader:
        assert reader.pixel_aspect_ratio == PAL
        assert [w.split(";")[0] for w in reader.warnings] == (
            ["its pixels are not square but 16:15 and stay so"] if is_warned else []
        )


def test_real_clips(shared_data: Path) -> None:
    clips = shared_data / "clips"
    assert probe_video(clips / "demo.mp4").pixel_aspect_ratio == Fraction(64, 51)
    with VideoReader(clips / "demo.mp4", make_resize(96)) as reader:
        assert (reader.width, reader.height) == (160, 96)
