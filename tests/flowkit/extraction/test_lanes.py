"""Runs of several lanes in this process, without Ray: a GPU is pretended, or Triton interpreted."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import ModuleType

import pytest

from flowkit.annotations import explicit_files
from flowkit.decode import VideoReader
from flowkit.errors import DeviceError, DiskFullError, UsageError
from flowkit.extraction import Options, extract
from flowkit.extraction.ray_cluster import import_ray
from flowkit.flow import BACKENDS, TVL1Params, tvl1_video
from flowkit.flow.backends import Backend
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store.integrity.verify import verify

LANES = 3


@pytest.fixture
def recipe():
    tvl1 = TVL1Params(scales=1, warps=1, iterations=1)
    return StoreRecipe(
        resize=Resize(width=16, height=16), rgb=RGBRecipe(), flow=FlowRecipe(tvl1=tvl1)
    )


@pytest.fixture
def pretender(monkeypatch):
    """A backend that says it is a GPU's; ``pretender.solve_video`` may be replaced."""
    module = ModuleType("pretender")
    module.solve_video = lambda frames, params: tvl1_video(frames, params, "numba")
    module.solve_pairs = None
    monkeypatch.setitem(sys.modules, "pretender", module)
    monkeypatch.setitem(BACKENDS, "pretender", Backend("pretender", lambda: None, gpu=True))
    return module


def make_clips(folder, make_clip, names, frames=3):
    return [make_clip(folder / f"{n}.mp4", frames=frames, seed=i) for i, n in enumerate(names)]


WITHOUT_RAY = """
import hashlib, json, sys
sys.modules["ray"] = sys.modules["tensorboardX"] = None  # importing them fails
from pathlib import Path
from rich.console import Console
from flowkit.annotations import explicit_files
from flowkit.extraction import Options, extract
from flowkit.flow import TVL1Params
from flowkit.recipe import FlowRecipe, StoreRecipe, Resize, RGBRecipe
from flowkit.store import Store

root, *clips = map(Path, sys.argv[1:])
tvl1 = TVL1Params(scales=1, warps=1, iterations=2)
resize = Resize(width=24, height=24)
recipe = StoreRecipe(resize=resize, rgb=RGBRecipe(), flow=FlowRecipe(tvl1=tvl1))
runs = {"three": ("triton", 3), "one": ("triton", 1), "numba": ("numba", None)}
found = {}
for name, (backend, lanes) in runs.items():
    options = Options(workers=0, lanes=lanes, backend=backend)
    summary = extract(explicit_files(clips), root / name, recipe, options,
                      console=Console(quiet=True))
    store, images = Store(root / name), hashlib.sha256()
    for id in sorted(store):
        video = store[id]
        for t in range(video.num_frames - 1):
            images.update(video.rgb(t).tobytes() + video.flow(t).tobytes())
    found[name] = {
        "extracted": summary.extracted, "workers": summary.workers,
        "busy": summary.gpu and summary.gpu.busy_seconds, "images": images.hexdigest(),
        "ids": sorted(store),
    }
print(json.dumps(found))
"""


@pytest.mark.usefixtures("triton_interpreter")
def test_lanes_of_the_triton_backend_give_the_bytes_of_one_lane_and_of_numba(tmp_path, make_clip):
    """Without Ray, in Triton's interpreter, in a process of its own."""
    clips = make_clips(tmp_path, make_clip, "abcd")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", WITHOUT_RAY, str(tmp_path), *map(str, clips)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["three"]["ids"] == [clip.name for clip in clips]
    assert {run["extracted"] for run in found.values()} == {4}
    assert found["three"]["workers"] == 3
    assert found["three"]["busy"] > 0 and found["numba"]["busy"] is None
    assert found["three"]["images"] == found["one"]["images"] == found["numba"]["images"]


def test_lanes_work_side_by_side_and_count_in_the_calling_thread(
    pretender, tmp_path, make_clip, recipe, committed
):
    clips = make_clips(tmp_path, make_clip, "abcdefg")
    together = threading.Barrier(LANES, timeout=30)
    seen = []

    def solve(frames, params):
        if threading.current_thread().name.startswith("lane-") and len(seen) < LANES:
            seen.append(threading.current_thread().name)
            together.wait()  # would break if lanes took turns
        return tvl1_video(frames, params, "numba")

    pretender.solve_video = solve
    options = Options(workers=0, lanes=LANES, backend="pretender")
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert sorted(seen) == ["lane-0", "lane-1", "lane-2"]
    assert (summary.extracted, summary.workers, summary.failed) == (7, LANES, [])
    assert sorted(video.id for video in committed(tmp_path / "S")) == [c.name for c in clips]
    assert summary.gpu.busy_seconds > 0
    assert verify(tmp_path / "S", deep=True).problems == []
    assert extract(explicit_files(clips), tmp_path / "S", recipe, options).done_before == 7


def test_a_gpu_has_a_lane_for_each_core(pretender, tmp_path, make_clip, recipe, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)))
    clips = make_clips(tmp_path, make_clip, "abcdef")
    on_gpu = extract(
        explicit_files(clips), tmp_path / "S", recipe, Options(workers=0, backend="pretender")
    )
    assert on_gpu.workers == 4
    on_cpu = extract(explicit_files(clips), tmp_path / "T", recipe, Options(workers=0))
    assert on_cpu.workers == 0  # this process, one video after another


def test_an_interrupt_stops_all_lanes_and_keeps_what_is_complete(
    pretender, tmp_path, make_clip, recipe
):
    clips = make_clips(tmp_path, make_clip, "abcdefghij")
    calls = []

    def solve(frames, params):
        if threading.current_thread().name.startswith("lane-"):
            calls.append(1)
            if len(calls) == 4:
                signal.raise_signal(signal.SIGINT)  # taken by the main thread
            time.sleep(0.2)
        return tvl1_video(frames, params, "numba")

    pretender.solve_video = solve
    options = Options(workers=0, lanes=LANES, backend="pretender")
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert summary.interrupted
    assert 0 < summary.extracted < 10 and summary.left == 10 - summary.extracted
    assert not [t for t in threading.enumerate() if t.name.startswith("lane-")]
    again = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert (again.done_before, again.extracted) == (summary.extracted, summary.left)


@pytest.mark.parametrize("raised", ["device", "disk"])
def test_an_error_of_the_machine_ends_all_lanes(pretender, tmp_path, make_clip, recipe, raised):
    clips = make_clips(tmp_path, make_clip, "abcdefgh")
    errors = {
        "device": DeviceError("the GPU failed: CUDA error: unknown"),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
    }

    def open_video(path, resize, fps):
        if path.stem == "e":
            raise errors[raised]
        return VideoReader(path, resize, fps)

    options = Options(workers=0, lanes=LANES, backend="pretender", open_video=open_video)
    with pytest.raises(DeviceError if raised == "device" else DiskFullError):
        extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert not [t for t in threading.enumerate() if t.name.startswith("lane-")]
    rest = Options(workers=0, lanes=LANES, backend="pretender")
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, rest)
    assert summary.done_before >= 1 and summary.extracted >= 1
    assert summary.done_before + summary.extracted == 8


def test_a_bad_video_fails_alone_among_lanes(pretender, tmp_path, make_clip, recipe):
    clips = make_clips(tmp_path, make_clip, "abcd")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    options = Options(workers=0, lanes=LANES, backend="pretender")
    sources = explicit_files([*clips, tmp_path / "bad.mp4"])
    summary = extract(sources, tmp_path / "S", recipe, options)
    assert (summary.extracted, [f.id for f in summary.failed]) == (4, ["bad.mp4"])


def test_an_error_while_counting_ends_the_lanes(
    pretender, tmp_path, make_clip, recipe, monkeypatch
):
    def fail(self, outcome):
        raise RuntimeError("the terminal is gone")

    monkeypatch.setattr("flowkit.extraction.progress.Meter.count", fail)
    clips = make_clips(tmp_path, make_clip, "abcdef")
    options = Options(workers=0, lanes=LANES, backend="pretender")
    with pytest.raises(RuntimeError, match="the terminal is gone"):
        extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert not [t for t in threading.enumerate() if t.name.startswith("lane-")]


def test_lanes_are_of_this_process():
    with pytest.raises(UsageError, match="lanes are the threads of workers=0"):
        Options(lanes=2)
    with pytest.raises(UsageError, match="at least 1; got lanes=0"):
        Options(workers=0, lanes=0)


def test_a_missing_ray_is_one_line(monkeypatch):
    from flowkit.errors import FlowkitError

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FlowkitError, match=r"pip install 'ray\[train\]', or use --workers 0"):
        import_ray()
