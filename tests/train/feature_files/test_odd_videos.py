"""Odd videos: each has rows that its JSON file explains, or it fails and says why."""

import json
import os
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from flowkit.errors import VideoError
from tests.flowkit.decode.conftest import count_picture, mux  # noqa: F401 (a fixture)
from tests.train.feature_files.conftest import compute, locate, read_info
from train.feature_files.windows import WindowSampling
from train.feature_files.worker import Worker

pytestmark = pytest.mark.usefixtures("mirrors")

WINDOWS = WindowSampling(length=4, stride=3)
TOO_SHORT = {"3 frames.mp4", "2 frames.mp4"}
# Kinds of failures, by file.
FAILURES = {
    "1 frame.mp4": "too-short", "empty.mp4": "empty", "text.mp4": "not-a-video",
    "page.mp4": "not-a-video", "random.mp4": "not-a-video", "no moov.mp4": "broken",
    "no frame decodes.avi": "broken", "headers alone.ts": "broken", "sound.wav": "no-video-stream",
    "folder.mp4": "not-a-file", "pipe.mp4": "not-a-file", "gone.mp4": "missing",
    "size change.h264": "size-change",
}  # fmt: skip
# Frames without --fps, by file; those of damaged files are only bounded.
FRAMES = {
    "2 frames.mp4": 2, "3 frames.mp4": 3, "4 frames.mp4": 4, "variable rate.mkv": 12,
    "clock jump.mkv": 12, "late start.mkv": 12, "rotated.mp4": 12, "60 fps.mp4": 24,
    "12 fps.mp4": 12, "1 fps.mp4": 6, "odd sizes.mkv": 12, "smaller than the crop.mkv": 12,
    "one pixel high.mkv": 12, "wide pixels.mp4": 12, "grey.mkv": 12, "ten bits.mp4": 12,
    "transparent.mov": 12, "stills.avi": 12, "stream.ts": 12, "still.mp4": 12, "fields.mpg": 12,
}  # fmt: skip
DAMAGED = {"damaged.mp4", "broken after 20.mkv", "cut.mp4", "half a packet.avi"}


@pytest.fixture
def odd_videos(tmp_path, mux):  # noqa: F811
    """Write the odd videos, and return their paths."""
    root = tmp_path

    def pictures(count, **size):
        return [count_picture(n + 1, **size) for n in range(count)]

    for count in (1, 2, 3, 4):
        mux(f"{count} frame{'s' if count > 1 else ''}.mp4", pictures(count))
    times = np.cumsum([0, 40, 40, 120, 5, 33, 33, 500, 40, 40, 17, 40]).tolist()
    mux("variable rate.mkv", pictures(12), times=times)
    jump = [40 * n + 3_600_000 * (n > 5) for n in range(12)]
    mux("clock jump.mkv", pictures(12), times=jump)
    mux("late start.mkv", pictures(12), times=[40 * n + 7000 for n in range(12)])
    mux("rotated.mp4", pictures(12), prepare=lambda stream: stream.set_display_rotation(90))
    mux("60 fps.mp4", pictures(24), fps=60)
    mux("12 fps.mp4", pictures(12), fps=12)
    mux("1 fps.mp4", pictures(6), fps=1)
    raw = {"codec": "ffv1", "pix_fmt": "bgr0", "fps": 25}
    mux("odd sizes.mkv", pictures(12, width=33, height=17), **raw)
    mux("smaller than the crop.mkv", pictures(12, width=7, height=5), **raw)
    mux("one pixel high.mkv", pictures(12, width=40, height=1), **raw)

    def widen(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    mux("wide pixels.mp4", pictures(12), prepare=widen)
    mux("grey.mkv", pictures(12), codec="ffv1", pix_fmt="gray")
    mux("ten bits.mp4", pictures(12), pix_fmt="yuv420p10le")
    mux("transparent.mov", pictures(12), codec="png", pix_fmt="rgba")
    mux("stills.avi", pictures(12), codec="mjpeg", pix_fmt="yuvj420p")
    mux("stream.ts", pictures(12), codec="mpeg2video", fps=25)
    mux("still.mp4", [np.full((48, 64, 3), 255, np.uint8)] * 12)
    mux("fields.mpg", pictures(12), codec="mpeg2video", fps=25, options={"flags": "+ilme+ildct"})
    write_damaged(root, mux, pictures)
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("hello world\n" * 300)
    (root / "page.mp4").write_text("<!DOCTYPE html><html><body>404 not found</body></html>")
    (root / "random.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    (root / "folder.mp4").mkdir()
    os.mkfifo(root / "pipe.mp4")
    with av.open(str(root / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.int16), "s16", "mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
    names = {*FAILURES, *FRAMES, *DAMAGED}
    assert names - {"gone.mp4"} <= {path.name for path in root.iterdir()}
    return [root / name for name in sorted(names)]


def write_damaged(root, mux, pictures):  # noqa: F811
    """Write videos that break off, or of which nothing is left."""
    whole = mux("whole.mp4", pictures(40), options={"g": "10", "bf": "0", "qp": "10"},
                muxing={"movflags": "faststart"})  # fmt: skip
    data = bytearray(whole.read_bytes())
    start = data.index(b"mdat")
    middle = start + (len(data) - start) // 2
    (root / "cut.mp4").write_bytes(data[:middle])
    data[middle : middle + 100] = np.random.default_rng(1).bytes(100)
    (root / "damaged.mp4").write_bytes(data)
    path = mux("no moov.mp4", pictures(12))
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"moov") - 4])
    path = mux("broken after 20.mkv", pictures(40), codec="ffv1")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    at = data.index(packets[20])
    path.write_bytes(data[:at] + b"\xff" * len(packets[20]) + data[at + len(packets[20]) :])
    path = mux("half a packet.avi", pictures(12), codec="mjpeg", pix_fmt="yuvj420p")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    path = mux("no frame decodes.avi", pictures(3), codec="mjpeg", pix_fmt="yuvj420p")
    data = path.read_bytes()
    movi = data.index(b"movi")
    path.write_bytes(data.replace(b"\xff\xd8", b"\x00\x00")[: movi + 4] + bytes(len(data) - movi))
    path = mux("headers alone.ts", pictures(12))
    path.write_bytes(path.read_bytes()[: 3 * 188])
    first = mux("first.h264", pictures(5)).read_bytes()
    second = mux("second.h264", pictures(5, width=96, height=80)).read_bytes()
    (root / "size change.h264").write_bytes(first + second)


def check_explained(out, name, windows):
    """Check that the JSON file of a video explains its rows; return it."""
    stem = name.rpartition(".")[0].replace(" ", "%20")
    info, rows = read_info(out, stem), np.load(out / f"{stem}.npy")
    frames = info["frames"]
    assert info["rows"] == len(rows) == windows.count_rows(frames)
    assert info["files"][0]["shape"] == list(rows.shape)
    padding = windows.list_padding(frames)
    assert info["padding"] == [[row, int(padding[row])] for row in np.flatnonzero(padding)]
    start, end = np.array(info["start_seconds"]), np.array(info["end_seconds"])
    assert len(start) == len(end) == len(rows)
    assert start[0] == 0
    assert (np.diff(start) >= 0).all()
    assert (start <= end).all()
    assert (end <= info["duration"] + 1e-6).all()
    assert np.isfinite(rows).all()
    # Every picture has light pixels, so a row of zeros was computed from nothing.
    assert (rows[:, : 3 * 4 * 64].max(axis=1) > 0.1).all()
    assert any("a window needs 4 frames" in text for text in info["warnings"]) == (
        windows.is_too_short(frames)
    )
    return info


@pytest.mark.parametrize("fps", [None, 25.0])
def test_every_odd_video_is_explained(odd_videos, make_request, fps):
    expected = dict(FAILURES)
    if fps is not None:  # which needs the frame rate of a folder
        odd_videos = [path for path in odd_videos if path.name != "folder.mp4"]
        del expected["folder.mp4"]
        del expected["1 frame.mp4"]  # shown for 0.1 s, so that there are 2 frames
    request = make_request(windows=WINDOWS, fps=fps)
    summary = compute(locate(*odd_videos), request)
    failed = {failure.id: failure.kind for failure in summary.failed}
    assert failed == expected
    state = request.out / ".flowkit" / "failures.jsonl"
    recorded = [json.loads(line) for line in state.read_text().splitlines()]
    assert {line["id"]: line["kind"] for line in recorded} == expected
    assert all(line["reason"] and "\n" not in line["reason"] for line in recorded)
    assert summary.computed == len(odd_videos) - len(failed)
    infos = {
        path.name: check_explained(request.out, path.name, WINDOWS)
        for path in odd_videos
        if path.name not in failed
    }
    for name in DAMAGED:
        assert 1 <= infos[name]["frames"] <= 100
        assert infos[name]["warnings"], name
        assert any(line.startswith(f"{name}: ") for line in summary.warned)
    if fps is None:
        assert {name: infos[name]["frames"] for name in FRAMES} == FRAMES
        assert {name for name in infos if infos[name]["padding"]} == TOO_SHORT
        assert infos["60 fps.mp4"]["duration"] == pytest.approx(0.4, abs=0.01)
        assert infos["late start.mkv"]["start_seconds"][1] == pytest.approx(0.12, abs=0.01)
        assert infos["clock jump.mkv"]["start_seconds"] == [0.0, 0.12, 0.3]
        assert "the clock jumps after frame 6" in infos["clock jump.mkv"]["warnings"][0]
        return
    for name, seconds in (("60 fps.mp4", 0.4), ("12 fps.mp4", 1.0), ("1 fps.mp4", 6.0)):
        assert infos[name]["frame_rate"] == 25.0
        assert infos[name]["duration"] == pytest.approx(seconds, abs=0.05)
        assert infos[name]["frames"] == pytest.approx(25 * seconds, abs=1)
        np.testing.assert_allclose(np.diff(infos[name]["start_seconds"]), 3 / 25, atol=1e-5)
    assert "the timestamps jump" in " ".join(infos["clock jump.mkv"]["warnings"])


def test_a_video_of_one_frame_has_rgb(tmp_path, mux, make_request):  # noqa: F811
    path = mux("a.mp4", [count_picture(5)])
    request = make_request(streams=("rgb",), windows=WINDOWS)
    assert compute(locate(path), request).computed == 1
    info = read_info(request.out, "a")
    assert (info["frames"], info["rows"], info["padding"]) == (1, 1, [[0, 3]])
    assert info["warnings"] == [
        "a window needs 4 frames, and the video has 1: rows repeat the first or the last one"
    ]


def test_a_strict_run_refuses_what_would_be_padded(tmp_path, mux, make_request):  # noqa: F811
    paths = [mux(f"{n}.mp4", [count_picture(k) for k in range(n)]) for n in (2, 3, 4, 9)]
    request = make_request(windows=WINDOWS)
    strict = compute(locate(*paths), request, strict=True)
    assert {f.id: f.kind for f in strict.failed} == dict.fromkeys(
        ("2.mp4", "3.mp4"), "shorter-than-window"
    )
    (reason,) = (failure.reason for failure in strict.failed if failure.id == "3.mp4")
    assert "3.mp4 has 3 frames, and a window needs 4" in reason
    assert (strict.computed, strict.without_features) == (2, 2)
    # Without --strict they are computed, without --retry-failed.
    relaxed = compute(locate(*paths), request)
    assert (relaxed.computed, relaxed.without_features, relaxed.quarantined) == (2, 0, [])
    # Now they have files. A strict run says so, and counts them as faults.
    again = compute(locate(*paths), request, strict=True)
    assert (again.computed, again.done_before, again.failed) == (0, 4, [])
    assert [failure.id for failure in again.padded] == ["2.mp4", "3.mp4"]
    assert again.without_features == 2
    assert "an earlier run without --strict padded its rows" in again.padded[0].reason


@pytest.mark.parametrize(("last_frame", "needed"), [("keep", 1), ("drop", 2)])
def test_too_short_a_video_tells_how_many_frames_it_needs(last_frame, needed):
    recipe = SimpleNamespace(windows=WindowSampling(last_frame=last_frame))
    setup = SimpleNamespace(file_recipe=recipe, network_options={"rgb": None}, strict=False)
    worker = SimpleNamespace(setup=setup)
    facts = SimpleNamespace(frames=needed, warnings=[])
    Worker._check_frames(worker, SimpleNamespace(id="a"), facts)
    facts.frames -= 1
    with pytest.raises(VideoError, match=f"expected at least {needed}$"):
        Worker._check_frames(worker, SimpleNamespace(id="a"), facts)
