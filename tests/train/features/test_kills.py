"""kill -9 again and again, then a clean run: nothing twice, nothing lost. And workers of Ray."""

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from flowkit.store import Store
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.integrity.verify import verify
from train.features import NetworkOptions, Options, extract_features
from train.features import run as run_module
from train.features import worker as worker_module
from train.features.setup import WorkerSetup

QUIET = Console(quiet=True)
# Four videos a share, a shard now and then.
HERE = Options(workers=0, device="cpu", batch=4, roll_seconds=0.3)


@pytest.fixture
def wanted(finished):
    return NetworkOptions(model=str(finished.path), stream="flow", positions=4)


def committed(root):
    records = [read_record(path) for path in record_paths(root) if path.parent.name == "flow"]
    return sorted(video.id for record in records for video in record.videos)


# A run as a user would start it, but slow; with ``last``, it kills itself after so many batches.
RUN = """
import os, signal, sys, time
from pathlib import Path
from rich.console import Console
from train.features import Options, NetworkOptions, extract_features
from train.features.embedder import Embedder
root, model, last = sys.argv[1:]
real, calls = Embedder.embed, []
def embed(self, batch, images):
    calls.append(batch)
    if len(calls) > int(last) > 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return real(self, batch, images)
Embedder.embed = embed
options = Options(workers=0, device="cpu", batch=4, roll_seconds=0.3 if last == "0" else 300)
wanted = NetworkOptions(model=model, stream="flow", positions=4)
extract_features(Path(root), "flow", wanted, options, Console(quiet=True))
"""


def start(store, wanted, last=0):
    """A run in a process of its own."""
    words = [sys.executable, "-c", RUN, str(store.path), wanted.model, str(last)]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))])
def test_killed_runs_lose_and_repeat_nothing(store, wanted, seed):
    rng, done = random.Random(seed), set()
    for _ in range(1 if seed == 0 else 3):
        before = set(store.path.glob("features/flow/*"))
        child = start(store, wanted)
        while set(store.path.glob("features/flow/*")) <= before and child.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.6))
        child.kill()
        child.wait()
        now = committed(store.path)
        assert done <= set(now)
        done = set(now)
    summary = extract_features(store.path, "flow", wanted, HERE, QUIET)
    assert summary.done_before >= len(done)
    assert summary.done_before + summary.computed == 12
    assert committed(store.path) == sorted(store)
    assert not list(store.path.glob("features/flow/*.part"))
    assert not verify(store.path, deep=True).problems


def test_what_was_written_out_before_a_kill_is_salvaged(store, wanted):
    """The first share lies in the .part, uncommitted, when the second one is killed."""
    assert start(store, wanted, last=4).wait() == -signal.SIGKILL
    assert committed(store.path) == []
    summary = extract_features(store.path, "flow", wanted, HERE, QUIET)
    assert (summary.salvaged, summary.done_before, summary.computed) == (4, 4, 8)
    assert committed(store.path) == sorted(store)


def crash_at(name):
    """A setup whose workers crash at a video; a local class, so that Ray sends it whole."""

    class Worker(worker_module.Worker):
        def extract(self, share):
            if any(target.id == name for target in share.targets):
                # In this thread: with os.kill, another one may take it, and write Ray's trace of
                # the crash while this one computes the share to its end.
                signal.raise_signal(signal.SIGSEGV)
            return super().extract(share)

    class Crashing(WorkerSetup):
        def make_worker(self, host=None, gpu_timer=None):
            return Worker(self, host)

    return Crashing


def test_workers_of_ray_compute_the_same(store, wanted):
    options = replace(HERE, workers=2)
    summary = extract_features(store.path, "flow", wanted, options, QUIET)
    assert (summary.computed, summary.left, summary.workers) == (12, 0, 2)
    assert committed(store.path) == sorted(store)
    here = extract_features(store.path, "here", wanted, replace(options, workers=0), QUIET)
    assert here.computed == 12
    opened = Store(store.path)
    for id in opened:
        one, other = (torch.from_numpy(opened[id].features(n)) for n in ("flow", "here"))
        assert torch.allclose(one.float(), other.float(), rtol=2**-9, atol=1e-4)


@pytest.mark.slow
def test_one_video_that_crashes_its_workers_is_found_and_quarantined(store, wanted, monkeypatch):
    monkeypatch.setattr(run_module, "WorkerSetup", crash_at("video 05"))
    options = replace(HERE, workers=2)
    summary = extract_features(store.path, "flow", wanted, options, QUIET)
    assert [(failure.id, failure.kind) for failure in summary.failed] == [("video 05", "crash")]
    assert (summary.computed, summary.left) == (11, 0)
    assert committed(store.path) == sorted(set(store) - {"video 05"})
    monkeypatch.undo()
    again = extract_features(store.path, "flow", wanted, replace(options, workers=0), QUIET)
    assert [failure.id for failure in again.quarantined] == ["video 05"]
