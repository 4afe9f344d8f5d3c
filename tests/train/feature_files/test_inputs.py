"""What the networks see: channel order, sign, scale, and which frame and flow field each row has.

The networks of these tests return their input, so the files hold the input itself.
"""

import json
from collections import Counter

import av
import cv2
import numpy as np
import pytest

import flowkit
from flowkit.extraction import frame_pairs
from flowkit.flow.quantization import dequantize, quantize
from flowkit.recipe import FlowRecipe, Resize, StoreRecipe
from tests.train.feature_files.conftest import (
    TVL1,
    compute,
    load_rows,
    locate,
    read_info,
)
from train.feature_files.windows import WindowSampling

pytestmark = pytest.mark.usefixtures("mirrors")
KEEP = Resize(mode="none")


def write_video(path, pictures, rate=25):
    """Write RGB pictures without loss, so that a test knows every pixel."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def draw_texture(height, width, seed=0):
    """Draw a smooth RGB texture that a solver can follow."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def render_shift(frames, dx, dy, size=48, seed=0):
    """Render a texture that moves by (dx, dy) pixels from each frame to the next."""
    margin = frames * max(abs(dx), abs(dy))
    texture = draw_texture(size + 2 * margin + 8, size + 2 * margin + 8, seed)
    return [
        texture[margin - t * dy : margin - t * dy + size, margin - t * dx : margin - t * dx + size]
        for t in range(frames)
    ]


def compute_expected(path, windows, resize=KEEP, size=8):
    """Compute what both networks see of a video, from flowkit's functions for whole videos."""
    frames = flowkit.read_video(path, resize=resize)
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    flow = flowkit.tvl1_video(grey, TVL1)
    assert len(flow) == len(frames) - 1
    bounded = dequantize(quantize(flow, 20.0), 20.0) / 20  # 20 pixels are 1
    top, left = ((side - size) // 2 for side in frames.shape[1:3])
    box = np.s_[:, top : top + size, left : left + size]
    rgb = frames[box].astype(np.float32) / 255
    indices = windows.list_frames(len(frames))
    seen = {"rgb": rgb[indices], "flow": bounded[box][indices.clip(0, len(flow) - 1)]}
    return {name: values.transpose(0, 4, 1, 2, 3) for name, values in seen.items()}


@pytest.mark.parametrize(
    "windows",
    [
        WindowSampling(length=4, stride=3),
        WindowSampling(length=4, stride=3, last_frame="drop"),
        WindowSampling(length=4, stride=1, placement="centred"),
        WindowSampling(length=4, stride=2, step=2, placement="covering"),
        WindowSampling(length=4, stride=9),  # with frames between windows
        WindowSampling(length=4, stride=60),  # shorter than a stride
    ],
    ids=str,
)
def test_rows_are_the_frames_and_flow_fields_that_windows_name(tmp_path, make_request, windows):
    path = write_video(tmp_path / "a.mkv", render_shift(23, 1, 0))
    compute(locate(path), make_request(windows=windows, resize=KEEP))
    rows, expected = load_rows(tmp_path / "feats" / "a.npy"), compute_expected(path, windows)
    for stream in ("rgb", "flow"):
        np.testing.assert_allclose(rows[stream], expected[stream], atol=1e-6, err_msg=stream)


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, 2), (-2, 0), (0, -2)])
def test_direction_sign_and_scale_of_flow(tmp_path, make_request, dx, dy):
    path = write_video(tmp_path / "a.mkv", render_shift(9, dx, dy))
    recipe = StoreRecipe(resize=KEEP, flow=FlowRecipe())
    compute(locate(path), make_request(frames=recipe))
    flow = load_rows(tmp_path / "feats" / "a.npy")["flow"] * 20
    assert flow[:, 0].mean() == pytest.approx(dx, abs=0.15)
    assert flow[:, 1].mean() == pytest.approx(dy, abs=0.15)


def test_rgb_order(tmp_path, make_request):
    picture = np.full((16, 16, 3), (255, 51, 0), np.uint8)
    path = write_video(tmp_path / "a.mkv", [picture] * 5)
    compute(locate(path), make_request(streams=("rgb",), resize=KEEP))
    rows = np.load(tmp_path / "feats" / "a.npy").reshape(1, 3, -1)
    assert rows.mean(-1) == pytest.approx(np.array([[1.0, 0.2, 0.0]]), abs=1e-6)


def test_each_frame_and_flow_field_is_computed_once(tmp_path, make_request, monkeypatch):
    path = write_video(tmp_path / "a.mkv", render_shift(40, 1, 0))
    decoded, solved = [], Counter()
    real_solve, real_open = frame_pairs.compute_tvl1, flowkit.decode.VideoReader

    def count_pairs(first, second, *rest):
        solved.update(zip((f.tobytes() for f in first), (s.tobytes() for s in second), strict=True))
        return real_solve(first, second, *rest)

    class CountingReader(real_open):
        def read_frames(self):
            for frame in super().read_frames():
                decoded.append(frame.time)
                yield frame

    monkeypatch.setattr("flowkit.extraction.flow_solver.compute_tvl1", count_pairs)
    windows = WindowSampling(length=8, stride=1, placement="centred")
    summary = compute(
        locate(path), make_request(windows=windows, resize=KEEP), open_video=CountingReader
    )
    assert summary.rows == 40
    assert len(decoded) == len(set(decoded)) == 40
    assert len(solved) == 39
    assert set(solved.values()) == {1}


def test_ten_crops_are_mirrored_with_x_negated(tmp_path, make_request):
    path = write_video(tmp_path / "a.mkv", render_shift(9, 2, 1))
    request = make_request(
        resize=KEEP, crops="ten", frames=StoreRecipe(resize=KEEP, flow=FlowRecipe())
    )
    compute(locate(path), request)
    rows = np.load(tmp_path / "feats" / "a.npy")
    assert rows.shape == (2, 10, (3 + 2) * 4 * 8 * 8)
    assert read_info(tmp_path / "feats", "a")["files"][0]["shape"] == list(rows.shape)
    rgb = rows[..., : 3 * 4 * 64].reshape(2, 10, 3, 4, 8, 8)
    flow = rows[..., 3 * 4 * 64 :].reshape(2, 10, 2, 4, 8, 8)
    plain, mirrored = slice(0, 5), slice(5, 10)
    if np.array_equal(rgb[:, 1], rgb[:, 0, ..., ::-1]):  # plain and mirrored crops alternate
        plain, mirrored = slice(0, None, 2), slice(1, None, 2)
    np.testing.assert_array_equal(rgb[:, mirrored], rgb[:, plain][..., ::-1])
    np.testing.assert_array_equal(flow[:, mirrored, 0], -flow[:, plain, 0][..., ::-1])
    np.testing.assert_array_equal(flow[:, mirrored, 1], flow[:, plain, 1][..., ::-1])
    assert flow[:, plain, 0].mean() * 20 == pytest.approx(2, abs=0.3)
    assert flow[:, mirrored, 0].mean() * 20 == pytest.approx(-2, abs=0.3)
    assert flow[:, mirrored, 1].mean() * 20 == pytest.approx(1, abs=0.3)
    assert len({view.tobytes() for view in rgb[0]}) == 10  # ten different crops


def test_times_of_rows(tmp_path, make_request):
    path = write_video(tmp_path / "a.mkv", render_shift(25, 1, 0), rate=10)
    windows = WindowSampling(length=4, stride=5)
    compute(locate(path), make_request(windows=windows, resize=KEEP))
    info = read_info(tmp_path / "feats", "a")
    assert json.dumps(info["padding"]) == "[]"
    assert (info["rows"], info["frames"], info["frame_rate"]) == (5, 25, 10.0)
    assert info["duration"] == pytest.approx(2.5, abs=1e-3)
    assert info["start_seconds"] == pytest.approx([0, 0.5, 1, 1.5, 2], abs=1e-3)
    assert info["end_seconds"] == pytest.approx([0.4, 0.9, 1.4, 1.9, 2.4], abs=1e-3)
