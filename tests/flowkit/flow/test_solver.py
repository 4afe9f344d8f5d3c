"""The public functions, the same for every backend."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from flowkit.errors import FlowError, UsageError
from flowkit.flow import (
    PRESETS,
    TVL1Params,
    available_backends,
    quantize,
    read_flo,
    tvl1,
    tvl1_video,
    tvl1_video_quantized,
)
from flowkit.flow.backends import count_gpus, find_interpreter_obstacle

AVAILABLE = [name for name, obstacle in available_backends().items() if obstacle is None]
if "triton" not in AVAILABLE and find_interpreter_obstacle() is None:
    AVAILABLE.append("triton")  # in its interpreter: conftest.py
CLIPS = ["test.avi", "test.mp4", "demo.mp4", "part_0.mp4", "v_GGSY1Qvo990.mp4", "h265_video.mp4"]
SEQUENCES = ["Dimetrodon", "Grove2", "RubberWhale", "Urban3"]


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def afford(backend, params=PRESETS["paper"]):
    """What a test can wait for: Triton's interpreter takes a tenth of a second an iteration."""
    if backend == "triton" and count_gpus() == 0:
        return replace(params, scales=2, warps=1, iterations=2)
    return params


def read_grey(clip, start, count, side):
    frames = []
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if start <= index < start + count:
                rgb = frame.to_ndarray(format="rgb24")
                small = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
                frames.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    return np.stack(frames)


# --- shapes and batches -----------------------------------------------------------------------


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shapes(backend, dtype):
    frames = noise(3, 20, 24, dtype=dtype)
    one = tvl1(frames[0], frames[1], afford(backend), backend)
    assert (one.shape, one.dtype) == ((20, 24, 2), np.float32)
    many = tvl1(frames[:2], frames[1:], afford(backend), backend)
    assert (many.shape, many.dtype) == ((2, 20, 24, 2), np.float32)
    np.testing.assert_array_equal(many[0], one)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("backend", AVAILABLE)
def test_uint8_and_float32_give_the_same(backend, preset):
    frames, params = noise(2, 30, 30), afford(backend, PRESETS[preset])
    floats = tvl1(*frames.astype(np.float32), params, backend)
    np.testing.assert_array_equal(tvl1(*frames, params, backend), floats)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_pair_gives_the_same_bits_anywhere_in_any_batch(preset):
    frames = cv2.GaussianBlur(noise(37, 5 * 41), (0, 0), 2).reshape(37, 5, 41).swapaxes(0, 1)
    frames0, frames1 = frames[:4], frames[1:]
    together = tvl1(frames0, frames1, PRESETS[preset], "numba")
    order = [2, 0, 3, 1]
    shuffled = tvl1(frames0[order], frames1[order], PRESETS[preset], "numba")
    np.testing.assert_array_equal(shuffled, together[order])
    for index in range(4):
        alone = tvl1(frames0[index], frames1[index].copy(), PRESETS[preset], "numba")
        np.testing.assert_array_equal(alone, together[index])


@pytest.mark.parametrize("backend", AVAILABLE)
def test_video_is_its_pairs(backend):
    frames, params = noise(3, 18, 25), afford(backend)
    flows = tvl1_video(frames, params, backend)
    np.testing.assert_array_equal(flows, tvl1(frames[:-1], frames[1:], params, backend))
    assert tvl1_video(frames[:1], params, backend).shape == (0, 18, 25, 2)
    quantized = tvl1_video_quantized(frames, params, 2.0, backend)
    np.testing.assert_array_equal(quantized, quantize(flows, 2.0))


# --- unusual and bad input --------------------------------------------------------------------


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 2), (5, 300), (16, 16), (17, 90)])
def test_any_size_gives_finite_flow(backend, preset, size):
    flow = tvl1(noise(*size), noise(*size, seed=1), afford(backend, PRESETS[preset]), backend)
    assert flow.shape == (*size, 2)
    assert np.isfinite(flow).all()


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("values", [(0, 0), (128, 128), (255, 255), (0, 255)])
def test_constant_frames_have_no_motion(backend, values):
    frame0, frame1 = (np.full((40, 40), value, np.uint8) for value in values)
    np.testing.assert_array_equal(tvl1(frame0, frame1, afford(backend), backend), 0)


@pytest.mark.parametrize("backend", AVAILABLE)
def test_a_small_pair_between_large_ones_changes_nothing(backend):
    frames, params = noise(2, 40, 64), afford(backend)
    before = tvl1(*frames, params, backend)
    tvl1(noise(17, 17), noise(17, 17, seed=1), params, backend)
    np.testing.assert_array_equal(tvl1(*frames, params, backend), before)


GREY = np.zeros((20, 20), np.uint8)
FLOAT = np.zeros((20, 20), np.float32)
BAD_PAIRS = {
    "shapes": (GREY, GREY[:, :-1], r"same shape, got \(20, 20\) and \(20, 19\)"),
    "one and many": (GREY, GREY[None], "same shape"),
    "dtypes": (GREY, GREY.astype(np.float32), "same dtype, got uint8 and float32"),
    "float64": (GREY.astype(float), GREY.astype(float), "uint8 or float32.*got float64"),
    "bool": (GREY > 0, GREY > 0, "got bool"),
    "colour": (GREY[None, ..., None], GREY[None, ..., None], r"grey.*got shape \(1, 20, 20, 1\)"),
    "row": (GREY[0], GREY[0], r"grey.*got shape \(20,\)"),
    "no rows": (GREY[:0], GREY[:0], "at least one pixel"),
    "no pairs": (GREY[None][:0], GREY[None][:0], "at least one pixel"),
    "list": (GREY.tolist(), GREY.tolist(), "NumPy array.*got list"),
    "NaN": (FLOAT * np.nan, FLOAT, "frames0.*no NaN"),
    "infinity": (FLOAT, FLOAT + np.inf, "frames1.*0–255"),
    "range": (FLOAT + 256, FLOAT, "values 256.0…256.0"),
    "negative": (FLOAT, FLOAT - 1, "values -1.0…-1.0"),
}  # fmt: skip


@pytest.mark.parametrize("backend", [*AVAILABLE, "auto"])
@pytest.mark.parametrize("case", BAD_PAIRS)
def test_bad_pairs_are_refused_alike(backend, case):
    frames0, frames1, message = BAD_PAIRS[case]
    with pytest.raises(FlowError, match=message):
        tvl1(frames0, frames1, backend=backend)


def test_bad_videos_are_refused():
    with pytest.raises(FlowError, match=r"\(N, H, W\), got shape \(20, 20\)"):
        tvl1_video(GREY)
    with pytest.raises(FlowError, match="at least one pixel"):
        tvl1_video(GREY[None][:0])


@pytest.mark.parametrize("median_side", [1, 3])
def test_opencv_says_that_it_cannot_go_below_16_pixels(median_side):
    with pytest.raises(FlowError, match="end at 16 pixels, got min_side 8"):
        tvl1(GREY, GREY, TVL1Params(min_side=8, median_side=median_side), "opencv")
    assert tvl1(GREY, GREY, TVL1Params(min_side=8), "numba").shape == (20, 20, 2)


def test_opencv_cuda_says_that_it_solves_all_levels_alike():
    from flowkit.flow.opencv.cuda import solve_pairs

    for params in (PRESETS["fast"], TVL1Params(median_side=3), TVL1Params(finest_warps=1)):
        with pytest.raises(FlowError, match=r"every level.*alike.*--backend triton"):
            solve_pairs(GREY[None], GREY[None], params)


def test_opencv_cuda_names_no_parameter_of_the_class(monkeypatch):
    """Builds differ in the name of one: it is ``lambda`` or ``lambda_``."""
    from flowkit.flow.opencv.cuda import solve_pairs

    created = []

    class Matrix:
        def upload(self, frame):
            self.frame = frame

        def download(self):
            return np.zeros((*self.frame.shape, 2), np.float32)

    class Solver:
        def calc(self, first, second, flow):
            return second

    def create(
        tau, lambda_, theta, nscales, warps, epsilon, iterations, scaleStep, gamma, useInitialFlow  # noqa: N803
    ):  # fmt: skip
        created.append((tau, lambda_, theta, nscales, warps, epsilon, iterations, scaleStep))
        assert (gamma, useInitialFlow) == (0.0, False)
        return Solver()

    fake = SimpleNamespace(OpticalFlowDual_TVL1_create=create, GpuMat=Matrix)
    monkeypatch.setattr(cv2, "cuda", fake, raising=False)
    params = TVL1Params(tau=0.2, lambda_=0.1, theta=0.4, epsilon=0.02, scale_step=0.7, warps=3,
                        iterations=7, scales=1)  # fmt: skip
    assert solve_pairs(GREY[None], GREY[None], params).shape == (1, 20, 20, 2)
    assert created == [(0.2, 0.1, 0.4, 1, 3, 0.02, 7, 0.7)]


# --- presets ----------------------------------------------------------------------------------

VIDEO = noise(3, 20, 24)
CALLS = {
    "tvl1": lambda params: tvl1(VIDEO[0], VIDEO[1], params, backend="numba"),
    "tvl1_video": lambda params: tvl1_video(VIDEO, params, backend="numba"),
    "tvl1_video_quantized": lambda params: tvl1_video_quantized(VIDEO, params, backend="numba"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_taken_by_name(call, preset):
    np.testing.assert_array_equal(CALLS[call](preset), CALLS[call](PRESETS[preset]))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("papr", "unknown flow preset 'papr'; did you mean 'paper'.*there are paper, accurate"),
        ("", "unknown flow preset ''; there are paper, accurate"),
        (0.25, r"TVL1Params or the name of a flow preset \(paper, accurate.*\), got float 0.25"),
        (None, "got None"),
        ({"tau": 0.25}, "got dict"),
    ],
)
def test_what_is_no_preset_is_refused(call, params, message):
    with pytest.raises(UsageError, match=message):
        CALLS[call](params)


# --- the GIL ----------------------------------------------------------------------------------


def test_other_threads_run_during_a_call():
    # One warp on one level: nearly the whole call is a single kernel.
    params = TVL1Params(scales=1, warps=1, iterations=1000, epsilon=1e-9)
    frames = noise(2, 400, 400)
    tvl1(*frames, TVL1Params(scales=1, warps=1, iterations=1), "numba")  # compile
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.001):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.perf_counter()
    tvl1(*frames, params, "numba")
    end = time.perf_counter()
    stop.set()
    thread.join()
    margin = (end - begin) / 5
    assert any(begin + margin < t < end - margin for t in ticks)


def test_threads_get_what_one_thread_gets():
    frames = noise(6, 40, 40)
    expected = tvl1(frames[:-1], frames[1:], backend="numba")
    flows = [None] * 5

    def solve(index):
        flows[index] = tvl1(frames[index], frames[index + 1], backend="numba")

    threads = [threading.Thread(target=solve, args=(index,)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.stack(flows), expected)


# --- against OpenCV and the truth ---------------------------------------------------------------


def measure_distance_to_opencv(folder, start, count, side, preset="paper"):
    """Mean endpoint distance of numba and opencv on each clip."""
    distances = []
    for clip in CLIPS:
        frames = read_grey(folder / "clips" / clip, start, count, side)
        numba, opencv = (tvl1_video(frames, preset, name) for name in ("numba", "opencv"))
        distances.append(np.linalg.norm(numba - opencv, axis=-1).mean())
    return np.array(distances)


def test_agrees_with_opencv_on_real_clips(shared_data):
    distances = measure_distance_to_opencv(shared_data, 4, 2, 128)
    assert distances.mean() <= 0.05
    assert distances.max() <= 0.15


def test_schedules_by_level_agree_with_opencv(shared_data):
    # A fixed number of iterations: near ε, OpenCV may stop sooner.
    frames = read_grey(shared_data / "clips" / CLIPS[0], 4, 2, 128)
    fixed = {"epsilon": 1e-9, "finest_epsilon": None, "iterations": 20}
    # OpenCV 4 rounds the places that it warps to 1/32 pixel.
    tolerance = 2e-3 if int(cv2.__version__.split(".")[0]) >= 5 else 0.05
    for params in (
        replace(PRESETS["fast"], **fixed),
        replace(PRESETS["fast"], **fixed, median_side=5, finest_median_side=3, warps=2),
    ):
        numba, opencv = (tvl1(*frames, params, name) for name in ("numba", "opencv"))
        assert np.linalg.norm(numba - opencv, axis=-1).mean() <= tolerance


def test_fast_agrees_with_opencv_on_real_clips(shared_data):
    # Few iterations a warp: the one or two by which OpenCV stops sooner tell more than in "paper".
    distances = measure_distance_to_opencv(shared_data, 4, 2, 128, "fast")
    assert distances.mean() <= 0.1
    assert distances.max() <= 0.2


@pytest.mark.slow
def test_agrees_with_opencv_on_real_clips_at_full_size(shared_data):
    distances = measure_distance_to_opencv(shared_data, 6, 4, 256)
    assert distances.mean() <= 0.05
    assert distances.max() <= 0.15


def measure_aee(folder, preset, backend="numba"):
    return measure_aee_of(lambda *frames: tvl1(*frames, PRESETS[preset], backend), folder)


def measure_aee_of(solve, folder):
    names = (str(folder / f"frame{number}.png") for number in (10, 11))
    frame0, frame1 = (cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in names)
    truth = read_flo(folder / "flow10.flo")
    known = (np.abs(truth) < 1e9).all(axis=-1)
    flow = solve(frame0, frame1)
    return np.linalg.norm(flow - truth, axis=-1)[known].mean()


def test_accuracy_on_rubberwhale(shared_data):
    folder = shared_data / "middlebury/RubberWhale"
    paper = measure_aee(folder, "paper")
    assert paper <= 1.01 * 0.156  # OpenCV's, from the README of the data
    assert measure_aee(folder, "accurate") <= 1.01 * paper


@pytest.mark.slow
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_accuracy_on_middlebury(sequence, shared_data):
    folder = shared_data / "middlebury" / sequence
    opencv, paper = measure_aee(folder, "paper", "opencv"), measure_aee(folder, "paper")
    accurate = measure_aee(folder, "accurate")
    assert paper <= 1.01 * opencv
    assert accurate <= 1.01 * paper
    assert accurate <= 0.75


def test_fast_is_more_accurate_than_dis(shared_data):
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    folders = [shared_data / "middlebury" / sequence for sequence in SEQUENCES]
    theirs = np.array([measure_aee_of(lambda a, b: dis.calc(a, b, None), f) for f in folders])
    ours = np.array([measure_aee(folder, "fast") for folder in folders])
    assert ours.mean() <= 0.70 * theirs.mean()
    assert (ours <= 1.5 * theirs).all()
