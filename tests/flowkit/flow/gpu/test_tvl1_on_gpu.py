"""The Triton backend on a real GPU: pytest -m gpu."""

import threading

import av
import cv2
import numpy as np
import pytest

from flowkit.flow import PRESETS, quantize, read_flo, tvl1, tvl1_video, tvl1_video_quantized
from flowkit.flow.backends import BACKENDS, is_interpreted, resolve_backend

pytestmark = pytest.mark.gpu

CLIPS = ["test.avi", "test.mp4", "demo.mp4", "part_0.mp4", "v_GGSY1Qvo990.mp4", "h265_video.mp4"]
SEQUENCES = ["Dimetrodon", "Grove2", "RubberWhale", "Urban3"]
SIZES = [(256, 256), (256, 340)]


@pytest.fixture(autouse=True)
def gpu():
    obstacle = BACKENDS["triton"].find_obstacle()
    if obstacle is not None or is_interpreted():
        pytest.skip(obstacle or "Triton's interpreter was asked for")


def read_grey(clip, count, height, width):
    frames = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24")
            small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
            frames.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
            if len(frames) == count:
                break
    return np.stack(frames)


def test_auto_takes_the_gpu():
    assert resolve_backend("auto") == "triton"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("clip", CLIPS)
def test_agrees_with_numba_on_real_clips(clip, size, preset, shared_data):
    frames = read_grey(shared_data / "clips" / clip, 6, *size)
    flows = [tvl1_video(frames, PRESETS[preset], name) for name in ("triton", "numba")]
    assert np.linalg.norm(flows[0] - flows[1], axis=-1).mean() <= 0.01


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_accuracy_on_middlebury_is_that_of_the_cpu(sequence, preset, shared_data):
    folder = shared_data / "middlebury" / sequence
    names = (str(folder / f"frame{number}.png") for number in (10, 11))
    frames = [cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in names]
    truth = read_flo(folder / "flow10.flo")
    known = (np.abs(truth) < 1e9).all(axis=-1)
    errors = [
        np.linalg.norm(tvl1(*frames, PRESETS[preset], name) - truth, axis=-1)[known].mean()
        for name in ("triton", "numba")
    ]
    assert errors[0] <= 1.01 * errors[1]


@pytest.mark.parametrize("size", SIZES)
def test_a_pair_gives_the_same_bits_anywhere_in_any_batch(size, shared_data):
    frames = read_grey(shared_data / "clips" / "demo.mp4", 41, *size)
    whole = tvl1_video(frames, backend="triton")
    np.testing.assert_array_equal(tvl1_video(frames, backend="triton"), whole)
    order = np.random.default_rng(0).permutation(40)
    shuffled = tvl1(frames[order], frames[order + 1], backend="triton")
    np.testing.assert_array_equal(shuffled, whole[order])
    for index in (0, 17, 39):
        alone = tvl1(frames[index], frames[index + 1], backend="triton")
        np.testing.assert_array_equal(alone, whole[index])
    many = tvl1(np.repeat(frames[:1], 600, 0), np.repeat(frames[1:2], 600, 0), backend="triton")
    np.testing.assert_array_equal(many, np.broadcast_to(whole[0], many.shape))


def test_quantized_is_quantize(shared_data):
    frames = read_grey(shared_data / "clips" / "demo.mp4", 9, 256, 256)
    expected = quantize(tvl1_video(frames, backend="triton"), 5.0)
    actual = tvl1_video_quantized(frames, bound=5.0, backend="triton")
    np.testing.assert_array_equal(actual, expected)


def test_threads_get_what_one_thread_gets(shared_data):
    videos = [read_grey(shared_data / "clips" / clip, 10, 256, 256) for clip in CLIPS]
    expected = [tvl1_video(frames, backend="triton") for frames in videos]
    flows = [None] * len(videos)

    def solve(index):
        flows[index] = tvl1_video(videos[index], backend="triton")

    for _ in range(3):
        threads = [threading.Thread(target=solve, args=(index,)) for index in range(len(videos))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for flow, wanted in zip(flows, expected, strict=True):
            np.testing.assert_array_equal(flow, wanted)


def test_a_batch_larger_than_memory_is_halved(monkeypatch):
    import torch

    from flowkit.flow.gpu import tvl1 as tvl1_triton

    levels = tvl1_triton.plan_levels(1080, 1920, PRESETS["paper"])
    count = int(1.5 * torch.cuda.mem_get_info()[0] / levels.bytes_per_pair)
    tries, solve_batch = [], tvl1_triton.solve_batch

    def watch(batch, *rest):
        tries.append(len(batch.first))
        return solve_batch(batch, *rest)

    monkeypatch.setattr(tvl1_triton, "MAX_PAIRS", count)
    monkeypatch.setattr(tvl1_triton, "count_pairs_in_memory", lambda _: count)
    monkeypatch.setattr(tvl1_triton, "solve_batch", watch)
    frames = np.zeros((2, 1080, 1920), np.uint8)[np.arange(count + 1) % 2]
    flow = tvl1_video_quantized(frames, backend="triton")
    assert tries[0] == count and min(tries) < count
    assert (flow == 128).all()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (15, 700), (255, 257), (480, 854)])
def test_noise_of_any_size_gives_finite_flow(size, preset):
    frames = np.random.default_rng(0).integers(0, 256, (5, *size), dtype=np.uint8)
    assert np.isfinite(tvl1_video(frames, PRESETS[preset], "triton")).all()
