"""Runs on GPUs: lanes, blame among them, and what the GPU waited for.

There need be no GPU: Ray is told of some, and the triton backend runs in Triton's interpreter.
"""

import gc
import json
import sys
import threading
import time
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from flowkit.annotations import explicit_files
from flowkit.cli import main
from flowkit.decode import VideoReader
from flowkit.errors import DeviceError, DeviceMemoryError, FlowkitError
from flowkit.extraction import Options, WorkerSetup, extract
from flowkit.extraction.chunks import GPU_CHUNK_BYTES, choose_chunk_length
from flowkit.extraction.ray_cluster import choose_backend, import_ray
from flowkit.flow import BACKENDS, TVL1Params, dequantize, tvl1_video
from flowkit.flow.backends import Backend
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import Store
from flowkit.store.integrity.verify import verify

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")


def add_pretender():
    """Add a backend that says it is a GPU's and starts at once: it needs no torch."""
    from flowkit.flow import BACKENDS  # a worker gets this function by value, with its globals

    module = ModuleType("pretender")
    module.solve_video = lambda frames, params: tvl1_video(frames, params, "numba")
    module.solve_pairs = None
    sys.modules["pretender"] = module
    BACKENDS["pretender"] = Backend("pretender", lambda: None, gpu=True)
    return module


@pytest.fixture(scope="module")
def gpus(triton_interpreter):
    """A Ray of four cores and two GPUs that nobody has, with Triton's interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        ray = import_ray()
        ray.init(
            address="local", num_cpus=4, num_gpus=2, include_dashboard=False,
            object_store_memory=80 << 20, log_to_driver=False, logging_level="CRITICAL",
            runtime_env={"worker_process_setup_hook": by_value(add_pretender)},
        )  # fmt: skip
        yield ray
        ray.shutdown()
        gc.collect()  # Ray's clients, which would take a process with them that is forked later


@pytest.fixture
def pretender(monkeypatch):
    """A backend that says it is a GPU's; ``pretender.solve_video`` may be replaced."""
    monkeypatch.setitem(sys.modules, "pretender", None)  # both are put back in the end
    monkeypatch.setitem(BACKENDS, "pretender", None)
    return add_pretender()


@pytest.fixture
def recipe():
    """What the interpreter can do in a second."""
    tvl1 = TVL1Params(scales=1, warps=1, iterations=1)
    return StoreRecipe(
        resize=Resize(width=16, height=16), rgb=RGBRecipe(), flow=FlowRecipe(tvl1=tvl1)
    )


def by_value(function):
    """``function`` with nothing to import: workers cannot see this module."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["_"]))
    return function


def make_clips(folder, make_clip, names, frames=3):
    return [
        make_clip(folder / f"{name}.mp4", frames=frames, seed=i) for i, name in enumerate(names)
    ]


def crash_at_poison(path, resize, fps):
    if "poison" in path.name:
        import ctypes

        time.sleep(1)  # the other lanes are at their videos by now
        ctypes.string_at(0)
    return VideoReader(path, resize, fps)


def hang_at_poison(path, resize, fps):
    if "poison" in path.name:
        time.sleep(3600)
    return VideoReader(path, resize, fps)


def fail_at_poison(path, resize, fps):
    if "poison" in path.name:
        raise DeviceError("the GPU failed: CUDA error: an illegal memory access")
    return VideoReader(path, resize, fps)


def fail_always(path, resize, fps):
    raise DeviceError("the GPU failed: CUDA error: uncorrectable ECC error")


# --- several GPUs, several lanes --------------------------------------------------------------


def test_lanes_of_two_gpus_share_the_work(gpus, tmp_path, make_clip, recipe, committed):
    clips = make_clips(tmp_path, make_clip, "abcde")
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, Options(backend="triton"))
    assert (summary.extracted, summary.failed, summary.left) == (5, [], 0)
    assert (summary.workers, summary.backend) == (4, "triton")
    assert {video.provenance["backend"] for video in committed(tmp_path / "S")} == {"triton"}
    assert verify(tmp_path / "S", deep=True).problems == []
    assert summary.gpu.busy_seconds > 0
    assert json.loads(json.dumps(summary.to_dict()))["gpu"]["idle_seconds"]
    # The same bytes as from the CPU, but for rounding.
    numba = extract(explicit_files(clips), tmp_path / "T", recipe, Options(workers=0))
    assert (numba.extracted, numba.gpu) == (5, None)
    for id in Store(tmp_path / "S"):
        flows = [Store(tmp_path / name)[id].flow(0) for name in "ST"]
        assert np.abs(flows[0] - flows[1]).max() <= 0.5


def test_a_crash_among_lanes_blames_only_its_video(
    gpus, pretender, tmp_path, make_clip, recipe, committed
):
    clips = make_clips(tmp_path, make_clip, ["a", "b", "c", "poison", "d", "e"])
    options = Options(backend="pretender", open_video=by_value(crash_at_poison))
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    (failure,) = summary.failed
    assert (failure.id, failure.kind, failure.attempts) == ("poison.mp4", "crash", 2)
    assert "Segmentation fault" in failure.reason
    assert (summary.extracted, summary.left) == (5, 0)
    assert len(committed(tmp_path / "S")) == 5  # nothing twice


def test_a_hang_among_lanes_blames_only_its_video(gpus, pretender, tmp_path, make_clip, recipe):
    clips = make_clips(tmp_path, make_clip, ["a", "poison", "b", "c"])
    options = Options(
        backend="pretender", workers=2, open_video=by_value(hang_at_poison), stall_seconds=5.0
    )
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert [(f.id, f.kind) for f in summary.failed] == [("poison.mp4", "hang")]
    assert sorted(Store(tmp_path / "S")) == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_gpu_that_fails_ends_its_process_and_blames_no_video(
    gpus, pretender, tmp_path, make_clip, recipe
):
    clips = make_clips(tmp_path, make_clip, ["a", "b", "poison"])
    options = Options(backend="pretender", open_video=by_value(fail_at_poison))
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert (summary.extracted, summary.failed, summary.left) == (2, [], 1)


def test_gpus_that_always_fail_end_the_run(gpus, pretender, tmp_path, make_clip, recipe):
    clips = make_clips(tmp_path, make_clip, "abcdef")
    options = Options(backend="pretender", workers=2, open_video=by_value(fail_always))
    with pytest.raises(DeviceError, match=r"5 workers in a row .*uncorrectable ECC.*nvidia-smi"):
        extract(explicit_files(clips), tmp_path / "S", recipe, options)


def test_a_cluster_with_gpus_makes_auto_triton(gpus):
    lines = []
    assert choose_backend(gpus, lines.append) == "triton"
    assert lines == []


def test_a_cluster_whose_gpus_do_not_serve_falls_back_with_a_line(gpus, monkeypatch):
    def lack(backend):
        return f"{backend} was built for ROCm"

    monkeypatch.setattr("flowkit.extraction.ray_cluster.explain_unusable_backend", by_value(lack))
    lines = []
    assert choose_backend(gpus, lines.append) == "numba"
    assert lines == [
        "flow runs on the CPU, since the triton backend cannot use the cluster's GPUs: "
        "triton was built for ROCm"
    ]


def test_a_node_that_cannot_run_the_backend_says_so(gpus, tmp_path, make_clip, recipe, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # already joined: only says "a cluster"
    clips = make_clips(tmp_path, make_clip, "a")
    with pytest.raises(FlowkitError, match=r"node .*: flow backend 'opencv-cuda' cannot run here"):
        extract(explicit_files(clips), tmp_path / "S", recipe, Options(backend="opencv-cuda"))
    with pytest.raises(FlowkitError, match="did you mean 'triton'"):
        extract(explicit_files(clips), tmp_path / "S", recipe, Options(backend="tritom"))


# --- in one process -----------------------------------------------------------------------------


def test_the_summary_says_what_the_gpu_waited_for(pretender, tmp_path, make_clip, recipe):
    clips = make_clips(tmp_path, make_clip, "ab")

    def solve(frames, params):
        time.sleep(0.2)
        return tvl1_video(frames, params, "numba")

    def dawdle(path, resize, fps):
        time.sleep(0.1)
        return VideoReader(path, resize, fps)

    pretender.solve_video = solve
    options = Options(workers=0, lanes=1, backend="pretender", open_video=dawdle)
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert summary.gpu.busy_seconds >= 0.4
    assert summary.gpu.idle_seconds["decode"] >= 0.2
    assert (
        "GPU: busy " in summary._describe_times() and "idle at decode" in summary._describe_times()
    )


def test_a_failing_gpu_ends_the_run_and_keeps_what_is_complete(
    pretender, tmp_path, make_clip, recipe
):
    clips = make_clips(tmp_path, make_clip, "abc")
    calls = []

    def solve(frames, params):
        calls.append(len(frames))
        if len(calls) == 2:
            raise DeviceError("the GPU failed: CUDA error: unknown")
        return tvl1_video(frames, params, "numba")

    pretender.solve_video = solve
    options = Options(workers=0, lanes=1, backend="pretender")
    with pytest.raises(DeviceError, match="CUDA error"):
        extract(explicit_files(clips), tmp_path / "S", recipe, options)
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert (summary.done_before, summary.extracted) == (1, 2)


def test_frames_too_large_for_the_gpu_fail_alone(pretender, tmp_path, make_clip):
    large = make_clip(tmp_path / "large.mp4", frames=3, width=96, height=64)
    small = make_clip(tmp_path / "small.mp4", frames=3, width=32, height=32)

    def solve(frames, params):
        if frames.shape[2] > 50:
            raise DeviceMemoryError("a pair of 96×64 needs 1 MiB of the GPU's memory")
        return tvl1_video(frames, params, "numba")

    pretender.solve_video = solve
    recipe = StoreRecipe(resize=Resize(mode="none"), rgb=RGBRecipe(), flow=FlowRecipe())
    options = Options(workers=0, backend="pretender")
    summary = extract(explicit_files([large, small]), tmp_path / "S", recipe, options)
    (failure,) = summary.failed
    assert (failure.id, failure.kind) == ("large.mp4", "memory")
    assert "a pair of 96×64 needs 1 MiB" in failure.reason
    assert summary.extracted == 1


def test_lanes_in_threads_write_stores_of_their_own(tmp_path, make_clip, recipe, committed):
    """What an actor does with its lanes, without Ray: several workers at once in one process."""
    from flowkit.extraction.gpu_timer import GpuTimer
    from flowkit.extraction.tasks import ExtractionTask
    from flowkit.extraction.worker import Worker
    from flowkit.store import create_or_open

    clips = make_clips(tmp_path, make_clip, "abcdefgh", frames=20)
    create_or_open(tmp_path / "S", recipe, None)
    setup = WorkerSetup(root=tmp_path / "S", recipe=recipe, backend="numba", lanes=4)
    gpu_timer = GpuTimer()
    workers = [Worker(setup, gpu_timer=gpu_timer) for _ in range(4)]
    outcomes = []

    def work(lane):
        for clip in clips[lane::4]:
            task = ExtractionTask(id=clip.name, source=clip, streams=("rgb", "flow"))
            outcomes.append(workers[lane].extract(task))
        workers[lane].close()

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.status for outcome in outcomes] == ["done"] * 8
    assert sorted(video.id for video in committed(tmp_path / "S")) == [c.name for c in clips]


# --- chunks, and the command -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "lanes", "size", "expected"),
    [
        ("numba", 1, (256, 256), 16),
        ("numba", 1, (3840, 2160), 2),
        ("triton", 1, (256, 256), 256),
        ("triton", 16, (256, 256), 64),
        ("triton", 64, (256, 256), 32),
        ("triton", 1, (1920, 1080), GPU_CHUNK_BYTES // (1920 * 1080 * 12)),
        ("triton", 16, (7680, 4320), 2),
    ],
)
def test_chunks_keep_a_gpu_fed(backend, lanes, size, expected, tmp_path, recipe, monkeypatch):
    class Memory:
        available = 64 << 30

    monkeypatch.setattr("flowkit.extraction.chunks.psutil.virtual_memory", lambda: Memory)
    setup = WorkerSetup(root=tmp_path, recipe=recipe, backend=backend, lanes=lanes)
    assert choose_chunk_length(size[0] * size[1] * 12, setup) == expected
    Memory.available = 1 << 20
    assert choose_chunk_length(size[0] * size[1] * 12, setup) == (
        expected if backend == "numba" else 2
    )


def test_a_fallback_is_said_in_one_line(tmp_path, make_clip, monkeypatch):
    monkeypatch.setattr(
        "flowkit.extraction.run.explain_fallback", lambda: "flow runs on the CPU, since it is ROCm"
    )
    clip = make_clip(tmp_path / "a.mp4", frames=3, width=32, height=32)
    command = ["extract", str(clip), "--store", str(tmp_path / "S"), "--workers", "0",
               "--size", "32x32"]  # fmt: skip
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.output.count("flow runs on the CPU, since it is ROCm") == 1
    named = CliRunner().invoke(main, [*command, "--backend", "numba", "--update"])
    assert "since it is ROCm" not in named.output


def test_flow_of_the_store_is_that_of_the_backend(pretender, tmp_path, make_clip, recipe):
    """Bytes that the backend quantized reach the store as they are (JPEG aside)."""
    clip = make_clip(tmp_path / "a.mp4", frames=4)
    pretender.solve_video_quantized = lambda frames, params, bound: np.full(
        (len(frames) - 1, *frames.shape[1:], 2), (140, 120), np.uint8
    )
    options = Options(workers=0, backend="pretender")
    extract(explicit_files([clip]), tmp_path / "S", recipe, options)
    flow = Store(tmp_path / "S")["a.mp4"].flow(1)
    np.testing.assert_allclose(flow[..., 0], dequantize(np.uint8([140]))[0], atol=0.4)
    np.testing.assert_allclose(flow[..., 1], dequantize(np.uint8([120]))[0], atol=0.4)
