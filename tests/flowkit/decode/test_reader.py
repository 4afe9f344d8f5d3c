"""Frames come out exactly: all, once, in order, in the right colours and size."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from flowkit.decode import VideoReader, find_codec_support, probe_video, read_video
from flowkit.errors import UsageError
from flowkit.recipe import Resize

FRAMES = {
    "test.avi": 164,
    "test.mp4": 300,
    "demo.mp4": 280,
    "part_0.mp4": 32,
    "v_GGSY1Qvo990.mp4": 355,
    "h265_video.mp4": 10,
}


@pytest.mark.parametrize("name", FRAMES)
def test_real_clips_give_every_frame(name: str, shared_data: Path) -> None:
    with VideoReader(shared_data / "clips" / name, Resize(width=64, height=48)) as reader:
        frames = list(reader)
    assert len(frames) == FRAMES[name]
    assert reader.warnings == []
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].dtype == np.uint8
    assert all(f.flags.c_contiguous for f in frames)


def test_info_of_a_real_clip(shared_data: Path) -> None:
    info = probe_video(shared_data / "clips" / "v_GGSY1Qvo990.mp4")
    assert (info.width, info.height, info.codec, info.rotation) == (320, 240, "h264", 0)
    assert info.fps == pytest.approx(19.62)
    assert info.has_audio
    assert info.duration == pytest.approx(18.04, abs=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b.mp4", "libx264", {"bf": "3", "g": "7", "b-pyramid": "normal"}),
        ("open.mkv", "libx264", {"bf": "2", "g": "5", "x264-params": "open-gop=1"}),
        ("b.avi", "mpeg4", {"bf": "2"}),
        ("v.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "30"}),
        ("i.mkv", "ffv1", {}),
        ("b.ts", "libx264", {"bf": "2"}),
    ],
)
def test_every_frame_once_in_presentation_order(
    name: str, codec: str, options: dict[str, str], mux: Any, count_picture: Any, read_count: Any
) -> None:
    path = mux(name, map(count_picture, range(40)), codec=codec, options=options)
    with VideoReader(path, Resize(mode="none")) as reader:
        assert [read_count(f) for f in reader] == list(range(40))
    assert reader.warnings == []


def test_threads_change_nothing(shared_data: Path) -> None:
    path = shared_data / "clips" / "h265_video.mp4"
    with VideoReader(path, Resize(mode="none"), threads=3) as reader:
        np.testing.assert_array_equal(np.stack(list(reader)), read_video(path))


def test_frames_hidden_by_an_edit_list_do_not_count(
    mux: Any, count_picture: Any, read_count: Any
) -> None:
    """Frames before time 0 must be decoded but are not shown: MP4 says so in an edit list."""
    times = [100 * (i - 5) for i in range(20)]
    path = mux(
        "cut.mp4",
        map(count_picture, range(20)),
        times=times,
        options={"g": "50", "bf": "0"},
        muxing={"avoid_negative_ts": "disabled"},
    )
    with VideoReader(path, Resize(mode="none")) as reader:
        assert [read_count(f) for f in reader] == list(range(5, 20))
    assert reader.warnings == []


def ycbcr_to_rgb(y: int, cb: int, cr: int, matrix: str, full: bool) -> np.ndarray:
    """The definition, ITU-R BT.601/BT.709, for 8 bits."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    luma, chroma, foot = (255, 255, 0) if full else (219, 224, 16)
    y_, b_, r_ = (y - foot) / luma, (cb - 128) / chroma, (cr - 128) / chroma
    r, b = y_ + 2 * (1 - kr) * r_, y_ + 2 * (1 - kb) * b_
    return np.clip(np.array([r, (y_ - kr * r - kb * b) / (1 - kr - kb), b]) * 255, 0, 255)


def plain_yuv(y: int, cb: int, cr: int, pix_fmt: str) -> av.VideoFrame:
    frame = av.VideoFrame(64, 48, pix_fmt)
    for plane, value in zip(frame.planes, (y, cb, cr), strict=True):
        wide = np.full(plane.buffer_size // 2, value * 4, np.uint16).tobytes()
        narrow = bytes([value]) * plane.buffer_size
        plane.update(wide if "10" in pix_fmt else narrow)
    return frame


@pytest.mark.parametrize(
    ("matrix", "code", "full", "pix_fmt"),
    [
        *itertools.product(["bt601"], [2, 6], [False, True], ["yuv420p", "yuv420p10le"]),
        *itertools.product(["bt709"], [1], [False, True], ["yuv420p", "yuv444p", "yuv420p10le"]),
    ],
)
def test_colours_follow_the_streams_matrix_and_range(
    matrix: str, code: int, full: bool, pix_fmt: str, mux: Any
) -> None:
    def prepare(stream: Any) -> None:
        stream.codec_context.colorspace = code
        stream.codec_context.color_range = 2 if full else 1

    colour = (120, 90, 160)
    frame = plain_yuv(*colour, pix_fmt)
    frame.colorspace, frame.color_range = code, 2 if full else 1
    path = mux("c.mkv", [frame], codec="ffv1", pix_fmt=pix_fmt, prepare=prepare)
    got = read_video(path)[0].reshape(-1, 3)
    expected = ycbcr_to_rgb(*colour, matrix, full)
    assert np.abs(got - expected).max() <= 1.5  # 10-bit full range is not 4 × 8-bit
    other = ycbcr_to_rgb(*colour, "bt601" if matrix == "bt709" else "bt709", not full)
    assert np.abs(expected - other).max() > 5  # the test can tell them apart


def test_deprecated_full_range_formats(mux: Any) -> None:
    path = mux("m.avi", [plain_yuv(120, 90, 160, "yuvj420p")], codec="mjpeg", pix_fmt="yuvj420p")
    expected = ycbcr_to_rgb(120, 90, 160, "bt601", full=True)
    assert np.abs(read_video(path)[0].mean((0, 1)) - expected).max() < 3


@pytest.mark.parametrize(
    ("codec", "name", "pix_fmt"),
    [
        ("ffv1", "a.mkv", "bgra"),
        ("ffv1", "a.mkv", "gray"),
        ("ffv1", "a.mkv", "gray10le"),
        ("ffv1", "a.mkv", "yuva420p"),
        ("ffv1", "a.mkv", "gbrp12le"),
        ("ffv1", "a.mkv", "rgb48le"),
        ("qtrle", "a.mov", "argb"),
        ("png", "a.mov", "rgba"),
        ("gif", "a.gif", "gray"),
        ("rawvideo", "a.avi", "pal8"),
    ],
)
def test_pixel_formats(codec: str, name: str, pix_fmt: str, mux: Any) -> None:
    """A grey ramp survives alpha, palettes and depths."""
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    if pix_fmt == "pal8":
        palette = np.arange(256, dtype=np.uint32)[:, None] * [0, 1, 1, 1] + [255, 0, 0, 0]
        frame = av.VideoFrame.from_ndarray(
            (ramp[..., 0].copy(), palette.astype(np.uint8)), format="pal8"
        )
    else:
        frame = ramp
    path = mux(name, [frame] * 2, codec=codec, pix_fmt=pix_fmt)

    assert np.abs(read_video(path)[0].astype(int) - ramp).max() <= 2


def test_odd_sizes(mux: Any) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (5, 7, 3), np.uint8), (63, 37))
    path = mux("o.mkv", [picture] * 3, codec="ffv1", pix_fmt="yuv444p")
    video = read_video(path)
    assert video.shape == (3, 37, 63, 3)
    assert np.abs(video[0].astype(int) - picture).max() <= 3
    assert read_video(mux("p.mkv", [picture], codec="ffv1")).shape == (1, 37, 63, 3)


@pytest.mark.parametrize(
    ("resize", "flag", "size"),
    [
        (Resize(width=20, height=30), cv2.INTER_AREA, (20, 30)),
        (Resize(width=20, height=30, filter="bilinear"), cv2.INTER_LINEAR, (20, 30)),
        (Resize(width=100, height=90), cv2.INTER_LINEAR, (100, 90)),
        (Resize(width=100, height=20), cv2.INTER_LINEAR, (100, 20)),
        (Resize(mode="short-side", side=24), cv2.INTER_AREA, (32, 24)),
        (Resize(mode="short-side", side=480), None, (64, 48)),
        (Resize(mode="short-side", side=96, upsize=True), cv2.INTER_LINEAR, (128, 96)),
    ],
)
def test_resizing_is_opencvs(resize: Resize, flag: int, size: tuple[int, int], mux: Any) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    path = mux("r.mkv", [picture] * 2, codec="ffv1", pix_fmt="yuv444p")
    raw = read_video(path)[0]
    with VideoReader(path, resize) as reader:
        assert (reader.width, reader.height) == size
        first = next(iter(reader))
    expected = raw if flag is None else cv2.resize(raw, size, interpolation=flag)
    np.testing.assert_array_equal(first, expected)


def test_a_variable_rate_is_kept(mux: Any, count_picture: Any, read_count: Any) -> None:
    times = [0, 40, 80, 400, 410, 900, 2000, 2040]
    path = mux("v.mkv", map(count_picture, range(8)), codec="ffv1", times=times)
    assert [read_count(f) for f in read_video(path)] == list(range(8))


@pytest.mark.parametrize("fps", [1.0, 5.0, 10.0, 23.976, 60.0])
def test_resampling_shows_the_last_frame_so_far(
    fps: float, mux: Any, count_picture: Any, read_count: Any
) -> None:
    times = [120, 160, 200, 520, 530, 1020, 2120, 2160]
    path = mux("v.mkv", map(count_picture, range(8)), codec="ffv1", times=times)
    with VideoReader(path, Resize(mode="none"), fps=fps) as reader:
        assert reader.frame_rate == fps
        got = [read_count(f) for f in reader]
    step = 1000 / Fraction(fps).limit_denominator(1_000_000)
    shown = [
        max(i for i, t in enumerate(times) if t - 120 <= k * step + Fraction(1, 2))
        for k in range(len(got))
    ]
    assert got == shown
    assert got[-1] == 7 or fps < 25
    end = 2040 + 100  # the last frame stands for 1 / average rate
    assert 0 <= len(got) * step - end < step


def test_resampling_to_its_own_rate_changes_nothing(
    mux: Any, count_picture: Any, read_count: Any
) -> None:
    """Matroska rounds 1/30 s to milliseconds: 0, 33, 67, 100, …"""
    path = mux("t.mkv", map(count_picture, range(60)), codec="ffv1", fps=30)
    assert [read_count(f) for f in read_video(path, fps=30)] == list(range(60))


def test_resampling_where_timestamps_go_back(shared_data: Path) -> None:
    """test.avi has packed B-frames, whose pts in AVI are out of order."""
    assert len(read_video(shared_data / "clips" / "test.avi", fps=25)) == 164
    assert len(read_video(shared_data / "clips" / "test.avi", fps=5)) == 33


def test_a_reader_is_read_once(mux: Any, count_picture: Any) -> None:
    with VideoReader(mux("a.mkv", [count_picture(0)], codec="ffv1"), Resize(mode="none")) as reader:
        assert len(list(reader)) == 1
        with pytest.raises(UsageError, match="iterated only once"):
            iter(reader)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_must_be_positive(fps: float, mux: Any, count_picture: Any) -> None:
    path = mux("a.mkv", [count_picture(0)], codec="ffv1")
    with pytest.raises(UsageError, match="fps must be a positive number"):
        VideoReader(path, Resize(mode="none"), fps=fps)


def test_codecs_of_the_datasets_are_there() -> None:
    assert find_codec_support() == dict.fromkeys(
        ["h264", "hevc", "mpeg4", "vp9", "av1", "mp3", "aac"], True
    )
