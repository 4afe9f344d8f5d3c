"""Networks of both streams in several threads: the same features, in order, whatever the number."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.stage_timer import StageTimer
from models.backbones.backbone import Backbone, InputConvention
from tests.train.feature_files.conftest import compute, locate, read_files
from train.feature_files import network_pool
from train.feature_files import run as run_module
from train.feature_files.network_pool import NetworkPool
from train.feature_files.run import FeatureFileRun
from train.feature_files.settings import FileSettings
from train.feature_files.window_images import WindowBatch
from train.features.network import NetworkOptions, build_feature_network

pytestmark = pytest.mark.usefixtures("mirrors")


class Small(Backbone):
    """A network of one convolution with random weights, whose sums depend on their order."""

    rgb_input = InputConvention(mean=(0.5,), std=(0.5,))
    flow_input = InputConvention(mean=(0.0,), std=(1.0,), order="xy")

    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(channels)
        self.dims, self.num_features, self.fc = 2, 16, None
        self.conv = torch.nn.Conv2d(channels, 16, 5)

    def steps(self):
        yield "conv", self.conv

    def pool_features(self, x):
        return x.mean(dim=(2, 3))


@pytest.fixture
def networks():
    found = {}
    for stream, channels in (("rgb", 3), ("flow", 2)):
        options = NetworkOptions(model="small", stream=stream, crops="centre", size=32)
        found[stream] = build_feature_network(
            options, Small(channels).eval(), Path("small"), "small", stream, (32, 1, 1), None
        )
    return found


@pytest.fixture
def settings(tmp_path, make_request, monkeypatch):
    """The settings of a worker, from the plan of a run."""
    kept = []
    monkeypatch.setattr(run_module, "FileSettings", lambda **s: kept.append(FileSettings(**s)))
    run = FeatureFileRun(locate(), make_request(), run_module.FileOptions(device="cpu"), None)
    run.open_folder()
    run.plan_work()
    return kept[0]


def make_batches(count, rows=3, size=32):
    random = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield WindowBatch(
            rows=rows,
            inputs={
                stream: torch.randint(
                    0, 256, (rows, channels, size, size), dtype=torch.uint8, generator=random
                )
                for stream, channels in (("rgb", 3), ("flow", 2))
            },
        )


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_features_do_not_depend_on_the_threads(networks, settings, threads):
    timer = StageTimer(GpuTimer())
    found = []
    for count in (1, threads):
        chosen = replace(settings, threads=count, batch=4)
        with NetworkPool(networks, chosen, timer) as pool:
            found.append(list(pool.embed(make_batches(7))))
    assert len(found[0]) == len(found[1]) == 7
    for one, several in zip(*found, strict=True):
        assert [rows.shape for rows in one] == [(3, 16), (3, 16)]
        assert all(np.array_equal(a, b) for a, b in zip(one, several, strict=True))
    assert not np.array_equal(found[0][0][0], found[0][1][0])
    assert timer.seconds.network > 0


def test_no_more_batches_are_taken_than_the_threads_need(networks, settings):
    """Else the windows of a long video would gather in memory."""
    taken = []

    def watch():
        for number, batch in enumerate(make_batches(20)):
            taken.append(number)
            yield batch

    with NetworkPool(networks, replace(settings, threads=2), StageTimer(GpuTimer())) as pool:
        for number, _ in enumerate(pool.embed(watch())):
            assert len(taken) <= number + 2


def test_an_error_ends_the_threads(networks, settings):
    wrong = WindowBatch(rows=1, inputs=dict.fromkeys(networks, torch.zeros(1, 9, 8, 8)))
    pool = NetworkPool(networks, replace(settings, threads=2), StageTimer(GpuTimer()))
    with pytest.raises(RuntimeError), pool:
        list(pool.embed([wrong] * 8))
    assert not [t for t in threading.enumerate() if t.name.startswith("network")]


def test_views_are_computed_in_parts_of_the_batch(networks, settings, monkeypatch):
    """Ten crops of a clip at a time would need a gigabyte."""
    sizes = []
    embed = network_pool.embed_inputs

    def watch(network, inputs, precision):
        sizes.append(len(inputs))
        return embed(network, inputs, precision)

    monkeypatch.setattr(network_pool, "embed_inputs", watch)
    chosen = replace(settings, threads=1, batch=2)
    with NetworkPool(networks, chosen, StageTimer(GpuTimer())) as pool:
        (rows,) = pool.embed(make_batches(1, rows=5))
    assert sizes == [2, 2, 1] * 2
    assert [part.shape for part in rows] == [(5, 16)] * 2


@pytest.mark.parametrize(
    ("cores", "videos", "options", "expected"),
    [
        (2, 10, {}, 1),  # many videos: each worker has a core
        (2, 4, {}, 1),
        (2, 3, {}, 2),  # few: one for each stream
        (2, 1, {}, 2),
        (16, 2, {}, 8),
        (16, 1, {}, 8),  # no more: their memory adds up
        (16, 5, {}, 3),
        (16, 1, {"workers": 1}, 2),  # the user said how much of the machine to use
        (16, 10, {"workers": 2}, 1),
        (16, 1, {"workers": 0}, 2),
        (16, 10, {"workers": 0}, 2),
    ],
)
def test_a_worker_uses_the_cores_that_have_no_video(
    make_request, monkeypatch, cores, videos, options, expected
):
    monkeypatch.setattr(run_module.os, "sched_getaffinity", lambda _: set(range(cores)))
    run = FeatureFileRun(
        locate(), make_request(), run_module.FileOptions(device="cpu", **options), None
    )
    run.summary.backend = "numba"
    assert run._choose_threads(videos) == expected
    run.summary.device = "cuda"
    assert run._choose_threads(videos) == 1


def test_the_files_of_any_number_of_threads_are_equal(
    tmp_path, make_clip, make_request, monkeypatch
):
    clips = [make_clip(tmp_path / "v" / f"{n}.mp4", frames=30, seed=n) for n in range(2)]
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(FeatureFileRun, "_choose_threads", lambda self, tasks, n=threads: n)
        request = make_request(out=tmp_path / f"{threads}")
        assert compute(locate(*clips), request).computed == 2
        found.append(read_files(request.out))
    assert found[0] == found[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_features_of_a_gpu_are_those_of_the_cpu(tmp_path, make_clip, make_request):
    """Several lanes share the network of one process, and the time of networks counts as busy."""
    clips = [make_clip(tmp_path / "v" / f"{n}.mp4", frames=40, seed=n) for n in range(3)]
    found = {}
    for device in ("cpu", "cuda"):
        request = make_request(out=tmp_path / device)
        started = time.monotonic()
        summary = compute(locate(*clips), request, device=device, backend="numba")
        assert (summary.computed, summary.device) == (3, device)
        if device == "cuda":
            assert summary.gpu is not None
            assert 0 < summary.gpu.busy_seconds <= time.monotonic() - started
        found[device] = {path.name: np.load(path) for path in request.out.glob("*.npy")}
    assert found["cpu"].keys() == found["cuda"].keys()
    for name, rows in found["cpu"].items():
        np.testing.assert_allclose(found["cuda"][name], rows, rtol=1e-4, atol=1e-4)
