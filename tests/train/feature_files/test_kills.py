"""Runs that are killed at every write, interrupted, or lose a worker: the next run completes them.

The files are then those of a run that nothing disturbed, byte for byte.
"""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from flowkit.cli import main
from tests.train.feature_files.conftest import compute, locate, read_files, read_info
from train.feature_files import feature_file
from train.feature_files.worker import Worker

KILLED = 137


def count_calls(monkeypatch, act):
    """Call ``act(n)`` before the n-th step that changes a file: open, write, fsync, rename, remove.

    Returns:
        A list whose length is the number of steps so far.
    """
    steps = []

    def wrap(owner, name, is_step=lambda *args: True):
        real = getattr(owner, name)

        def call(*args, **options):
            if is_step(*args):
                steps.append(name)
                act(len(steps))
            return real(*args, **options)

        monkeypatch.setattr(owner, name, call)

    wrap(Path, "open", lambda path, mode="r", *rest: "w" in mode)
    wrap(Path, "replace")
    wrap(Path, "unlink")
    wrap(os, "fsync")
    wrap(feature_file.FeatureFileWriter, "append")
    return steps


def run_and_die(monkeypatch, step, *args, **options):
    """Compute in a child process that ends at a step as by kill -9; return its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        child = os.fork()
    if child == 0:
        try:
            count_calls(monkeypatch, lambda n: os._exit(KILLED) if n == step else None)
            compute(*args, **options)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.usefixtures("mirrors")
@pytest.mark.parametrize("is_update", [pytest.param(False, marks=pytest.mark.slow), True])
def test_killed_at_every_write(tmp_path, make_clip, make_request, monkeypatch, is_update):
    clip = make_clip(tmp_path / "v" / "a.mp4", frames=9)
    other = make_clip(tmp_path / "v" / "b.mp4", frames=7)
    old = make_clip(tmp_path / "old.mp4", frames=12, seed=5).read_bytes()
    new = clip.read_bytes()

    def prepare(name):
        request = make_request(out=tmp_path / name, layout="separate")
        compute(locate(other), request)
        if is_update:
            clip.write_bytes(old)
            compute(locate(clip), request)
            clip.write_bytes(new)
        os.utime(clip, ns=(0, 10**18))  # JSON files have the time of the source
        return request

    whole = prepare("whole")
    with monkeypatch.context() as patch:
        steps = count_calls(patch, lambda n: None)
        compute(locate(clip, other), whole, update=True)
    assert {"open", "append", "fsync", "replace", "unlink"} == set(steps)
    expected = read_files(whole.out)
    assert len(expected) == 6
    for step in range(1, len(steps) + 1):
        request = prepare(f"killed {step}")
        old_files = read_files(request.out)
        status = run_and_die(monkeypatch, step, locate(clip, other), request, update=True)
        assert status == KILLED
        if "a.json" in (left := read_files(request.out)):  # whole, whether old or new
            files = {name: content for name, content in left.items() if ".part" not in name}
            assert files in (old_files, expected)
        compute(locate(clip, other), request, update=True)
        assert read_files(request.out) == expected, steps[step - 1]
        assert not list(request.out.rglob("*.part"))
    assert run_and_die(monkeypatch, len(steps) + 1, locate(clip, other), whole) == 0


@pytest.mark.usefixtures("mirrors")
def test_a_run_removes_only_what_its_own_part_left(tmp_path, make_clip, make_request):
    names = "abgh"  # the last one is in part 0
    clips = [make_clip(tmp_path / "v" / f"{name}.mp4", frames=5) for name in names]
    request = make_request(streams=("rgb",))
    compute(locate(*clips), request, limit=1)
    left = [request.out / f"{name}.npy.0123abcd.part" for name in names]
    foreign = request.out / "mine.npy.0123abcd.part"
    for path in (*left, foreign):
        path.touch()
    compute(locate(*clips), request, part=(0, 2))
    assert [path for path in left if path.exists()] == left[:3]
    compute(locate(*clips), request, part=(1, 2))
    assert [path for path in (*left, foreign) if path.exists()] == [foreign]


def invoke(*args):
    return CliRunner().invoke(main, ["features", *map(str, args)])


@pytest.fixture
def arguments(tmp_path, make_clip, finished):
    """Arguments of a run over three clips with tiny networks that no test replaces."""
    for n in range(3):
        make_clip(tmp_path / "v" / f"{n}.mp4", frames=30, width=32, height=24, seed=n)
    return ("--videos", tmp_path / "v", "--model", finished.path, "--stride", 2, "--preset",
            "fast", "--no-resize", "--device", "cpu")  # fmt: skip


def test_an_interrupted_run_stops_and_the_next_one_continues(tmp_path, arguments, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "feats"
    assert invoke(*arguments, "--workers", 0, "--out", whole).exit_code == 0
    real, calls = Worker._write_rows, []

    def interrupt(worker, batches, *rest):
        calls.append(worker)
        if len(calls) == 2:  # a window of the second video is already computed
            os.kill(os.getpid(), signal.SIGINT)
        real(worker, batches, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_write_rows", interrupt)
        result = invoke(*arguments, "--workers", 0, "--out", out)
    assert result.exit_code == 130
    assert "interrupted; run the same command again to continue" in result.output
    done = {path.stem for path in out.glob("*.json")}
    assert 1 <= len(done) <= 2
    assert not list(out.rglob("*.part"))
    result = invoke(*arguments, "--workers", 0, "--out", out)
    assert (result.exit_code, f"{len(done)}  videos done before" in result.output) == (0, True)
    assert read_files(out) == read_files(whole)


@pytest.mark.slow
def test_workers_of_ray_write_the_same_files(tmp_path, arguments):
    here, ray = tmp_path / "here", tmp_path / "ray"
    assert invoke(*arguments, "--workers", 0, "--out", here).exit_code == 0
    result = invoke(*arguments, "--workers", 2, "--out", ray)
    assert result.exit_code == 0, result.output
    assert read_files(ray) == read_files(here)
    assert np.load(ray / "0.npy").shape == (15, 64)
    assert read_info(ray, "0")["files"][0]["columns"] == {"rgb": [0, 32], "flow": [32, 64]}


def start_command(arguments, out):
    """Start the command in a process group of its own; its messages go to a file beside ``out``."""
    with out.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flowkit", "features", *map(str, arguments), "--workers", "2",
             "--out", str(out)],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_drivers_and_workers_of_ray_that_are_killed(tmp_path, arguments, make_clip):
    for n in range(10):
        make_clip(tmp_path / "v" / f"{n}.mp4", frames=120, width=160, height=120, seed=n)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng, out, kills = random.Random(seed), tmp_path / "feats", 0
    for round_index in range(4):
        driver = start_command(arguments, out)
        while driver.poll() is None and not list(out.glob("*.npy.*.part")):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1.0))
        if driver.poll() is None and round_index % 2:
            children = psutil.Process(driver.pid).children(recursive=True)
            workers = [child for child in children if child.name().startswith("ray::Actor")]
            if workers:
                rng.choice(workers).kill()
                time.sleep(rng.uniform(0, 1.0))
        if driver.poll() is None:
            kills += 1
            driver.kill()
        driver.wait()
    assert kills >= 2
    last = start_command(arguments, out)
    assert last.wait() == 0, out.with_suffix(".log").read_text()
    whole = tmp_path / "whole"
    assert invoke(*arguments, "--workers", 0, "--out", whole).exit_code == 0
    assert read_files(out) == read_files(whole)
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_that_dies_leaves_nothing(tmp_path, arguments, make_clip):
    """The run continues without the killed worker, and removes what that has left."""
    for n in range(3):  # each takes about a second, so that its file is seen while it is written
        make_clip(tmp_path / "v" / f"{n}.mp4", frames=240, width=96, height=72, seed=n)
        (tmp_path / "v" / f"{n}.mp4").rename(tmp_path / "v" / f"{n}.avi")
    driver = start_command(arguments, tmp_path / "feats")
    while driver.poll() is None and not list((tmp_path / "feats").glob("*.npy.*.part")):
        time.sleep(0.005)
    assert driver.poll() is None, (tmp_path / "feats.log").read_text()
    for child in psutil.Process(driver.pid).children(recursive=True):
        if child.name().startswith("ray::Actor"):
            child.kill()
            break
    assert driver.wait() == 0, (tmp_path / "feats.log").read_text()
    assert {path.suffix for path in (tmp_path / "feats").iterdir() if path.is_file()} == {
        ".npy", ".json",
    }  # fmt: skip
    assert len(list((tmp_path / "feats").glob("*.json"))) == 3
