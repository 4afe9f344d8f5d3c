"""Batches, memory, padding and refusals, with a method that needs no torchvision."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from flowkit.errors import DeviceError, DeviceMemoryError, FlowError
from flowkit.flow.learned import solver
from flowkit.flow.learned.device import CUDA
from flowkit.flow.learned.registry import METHODS
from flowkit.flow.learned.solver import LearnedFlow, learned_flow, load_learned_flow
from flowkit.flow.learned.weights import choose_weights

torch = pytest.importorskip("torch", reason="learned methods need PyTorch")


@pytest.fixture
def gpu(monkeypatch):
    """``gpu(pairs)``: pretend that a GPU has free memory for so many pairs of 24×16 pixels."""

    def set_free(pairs: int) -> None:
        free = int(100 * 16 * 24 * pairs / solver.MEMORY_SHARE) + 10
        monkeypatch.setattr(solver, "find_free_gpu_bytes", lambda: free)

    return set_free


def check_reds(flow, frames0, frames1):
    expected = np.stack([frames0[..., 0], frames1[..., 0]], axis=-1).astype(np.float32) - 128
    np.testing.assert_array_equal(flow, expected * np.float32(0.125))
    assert flow.dtype == np.float32


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (9, 30)])
def test_pairs_are_padded_computed_and_cropped(reds, make_weights, make_frames, size):
    frames0, frames1 = make_frames(3, *size), make_frames(3, *size, seed=1)
    flow = learned_flow(frames0, frames1, "reds", make_weights(), backend="torch-cpu")
    check_reds(flow, frames0, frames1)
    one = learned_flow(frames0[1], frames1[1], "reds", str(make_weights()))
    np.testing.assert_array_equal(one, flow[1])
    none = learned_flow(frames0[:0], frames1[:0], "reds", make_weights())
    assert none.shape == (0, *size, 2) and none.dtype == np.float32


def record_sizes(method, sizes, fail=lambda pairs: None):
    """The ``compute`` of a method, which notes how many pairs it gets, and may fail."""

    def compute(network, frames0, frames1):
        sizes.append(len(frames0))
        fail(len(frames0))
        return method.compute(network, frames0, frames1)

    return compute


@pytest.mark.parametrize(
    ("free_pairs", "sizes"), [(1000, [64, 6]), (30, [30, 30, 10]), (0, [1] * 70)]
)
def test_batches_on_a_gpu_are_bounded_by_its_free_memory(reds, make_frames, gpu, free_pairs, sizes):
    gpu(free_pairs)
    computed = []
    method = reds(compute=record_sizes(METHODS["reds"], computed))
    frames = make_frames(71, 15, 24)  # padded to 16×24
    batches = list(
        LearnedFlow("reds", method, 0.125, CUDA).compute_batches(frames[:-1], frames[1:])
    )
    assert [len(batch) for batch in batches] == computed == sizes
    check_reds(np.concatenate(batches), frames[:-1], frames[1:])


def test_batches_on_a_cpu_are_single_pairs(reds, make_frames):
    frames = make_frames(4, 16, 24)
    batches = LearnedFlow("reds", METHODS["reds"], 0.125, "torch-cpu").compute_batches(
        frames[:-1], frames[1:]
    )
    assert [len(batch) for batch in batches] == [solver.CPU_PAIRS] * 3


@pytest.mark.parametrize(("pairs", "fitting"), [(1, 1), (40, 1), (40, 7), (40, 39), (40, 40)])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(reds, make_frames, gpu, pairs, fitting):
    gpu(1000)
    sizes = []

    def fail(count):
        if count > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory")

    method = reds(compute=record_sizes(METHODS["reds"], sizes, fail))
    frames = make_frames(pairs + 1, 16, 24)
    network = LearnedFlow("reds", method, 0.125, CUDA)
    batches = list(network.compute_batches(frames[:-1], frames[1:]))
    check_reds(np.concatenate(batches), frames[:-1], frames[1:])
    failed = [size for size in sizes if size > fitting]
    assert sizes[: len(failed)] == failed  # later batches start from the size that fitted
    assert all(later <= (size + 1) // 2 for size, later in zip(failed, sizes[1:], strict=False))


def test_smaller_frames_get_larger_batches_again(reds, make_frames, gpu):
    gpu(1000)
    sizes = []

    def compute(network, frames0, frames1):
        sizes.append((len(frames0), frames0.shape[1]))
        if frames0.size > 4 * 48 * 24 * 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return METHODS["reds"].compute(network, frames0, frames1)

    network = LearnedFlow("reds", replace(METHODS["reds"], compute=compute), 0.125, CUDA)
    for height in (48, 16, 48):
        frames = make_frames(8, height, 24)
        check_reds(np.concatenate(list(network.compute_batches(frames, frames))), frames, frames)
    assert sizes == [(8, 48), (4, 48), (4, 48), (8, 16), (4, 48), (4, 48)]


def test_a_pair_that_does_not_fit_is_an_error_with_its_size(reds, make_frames, gpu, monkeypatch):
    gpu(1000)

    def fail(count):
        raise torch.OutOfMemoryError("CUDA out of memory")

    frames = make_frames(3, 16, 24)
    method = reds(compute=record_sizes(METHODS["reds"], [], fail))
    with pytest.raises(DeviceMemoryError, match=r"a pair of 24x16 frames .* of the GPU's memory"):
        list(LearnedFlow("reds", method, 1.0, CUDA).compute_batches(frames, frames))
    method = reds(estimate_bytes=lambda height, width: 1 << 60)
    with pytest.raises(DeviceMemoryError, match=r"needs about .* MiB of memory with reds"):
        list(LearnedFlow("reds", method, 1.0, "torch-cpu").compute_batches(frames, frames))


def test_other_failures_of_a_gpu_end_the_process_and_those_of_a_cpu_are_bugs(
    reds, make_frames, gpu
):
    gpu(1000)

    def fail(count):
        raise RuntimeError("CUDA error: an illegal memory access")

    frames = make_frames(2, 16, 24)
    method = reds(compute=record_sizes(METHODS["reds"], [], fail))
    with pytest.raises(DeviceError, match="the GPU failed: RuntimeError: CUDA error: an illegal"):
        list(LearnedFlow("reds", method, 1.0, CUDA).compute_batches(frames, frames))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        list(LearnedFlow("reds", method, 1.0, "torch-cpu").compute_batches(frames, frames))


def test_flow_that_is_no_number_is_refused(reds, make_frames):
    frames = make_frames(2, 16, 24)
    network = LearnedFlow("reds", METHODS["reds"], float("nan"), "torch-cpu")
    with pytest.raises(FlowError, match="reds computed values that are not numbers"):
        list(network.compute_batches(frames, frames))


@pytest.mark.parametrize(
    ("frames0", "frames1", "message"),
    [
        (np.zeros((1, 16, 24), np.uint8), None, r"frames0 must be RGB .* got \(1, 1, 16, 24\)"),
        (np.zeros((1, 16, 24, 3), np.float32), None, "got .* of float32"),
        (np.zeros((1, 16, 24, 1), np.uint8), None, "frames0 must be RGB"),
        (np.zeros((1, 0, 24, 3), np.uint8), None, "frames0 must be RGB"),
        (np.zeros((1, 16, 24, 3), np.uint8), np.zeros((1, 24, 16, 3), np.uint8), "same shape"),
        (np.zeros((1, 8, 24, 3), np.uint8), None, "frames of 24x8 pixels are too small for reds"),
        ([[1]], None, "frames0 must be RGB .* got list"),
    ],
)
def test_frames_that_cannot_be_used(reds, make_weights, frames0, frames1, message):
    with pytest.raises(FlowError, match=message):
        learned_flow(frames0, frames0 if frames1 is None else frames1, "reds", make_weights())


def test_a_network_is_loaded_once_and_used_by_one_thread_at_a_time(reds, make_weights, make_frames):
    loads, users, most_users = [], [], []
    original = METHODS["reds"]

    def load(weights, device):
        loads.append(device)
        return original.load(weights, device)

    def compute(network, frames0, frames1):
        users.append(threading.get_ident())
        most_users.append(len(users))
        threading.Event().wait(0.002)
        users.pop()
        return original.compute(network, frames0, frames1)

    reds(load=load, compute=compute)
    found, frames = choose_weights("reds", make_weights(0.25)), make_frames(5, 16, 24)
    loads.clear()

    def run():
        network = load_learned_flow("reds", found.path, found.digest, "torch-cpu")
        list(network.compute_batches(frames, frames))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["cpu"]
    assert max(most_users) == 1 and len(most_users) == 20


def test_other_weights_than_those_of_the_store_are_refused(reds, make_weights):
    found = choose_weights("reds", make_weights(0.25))
    make_weights(0.75)  # the same file, with other content
    with pytest.raises(FlowError, match=rf"reds\.pth holds other weights .* digest {found.digest}"):
        load_learned_flow("reds", found.path, found.digest, "torch-cpu")


def test_a_gpu_that_is_not_there_is_refused(reds, make_weights, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = choose_weights("reds", make_weights())
    with pytest.raises(
        FlowError, match=r"cannot be computed with torch-cuda: torch .* finds no GPU"
    ):
        load_learned_flow("reds", found.path, found.digest, CUDA)


def test_a_cpu_computes_with_one_thread(reds, make_weights, make_frames):
    threads = []

    def compute(scale, frames0, frames1):
        threads.append(torch.get_num_threads())
        return np.zeros((*frames0.shape[:3], 2), np.float32)

    reds(compute=compute)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        learned_flow(*2 * [make_frames(2, 16, 16)], "reds", make_weights(), backend="torch-cpu")
        assert set(threads) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
