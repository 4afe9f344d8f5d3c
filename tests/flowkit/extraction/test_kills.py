"""kill -9 at random moments, again and again, then one clean run: as if nothing had been.

Each round starts a run in a process group of its own and kills, after a random time, the
driver or one worker. The seed is printed when a test fails.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flowkit.annotations import explicit_files
from flowkit.extraction import Options, extract
from flowkit.store.failures import read_failures
from flowkit.store.integrity.verify import verify

# A run as a user would start it, but with shards that commit every moment.
RUN = """
import sys
from pathlib import Path
from flowkit.annotations import explicit_files
from flowkit.extraction import Options, extract
from flowkit.recipe import StoreRecipe
import json
root, workers, recipe, *clips = sys.argv[1:]
extract(
    explicit_files([Path(clip) for clip in clips]), Path(root),
    StoreRecipe.from_dict(json.loads(recipe)), Options(workers=int(workers), roll_seconds=0.3),
)
"""


def start(root: Path, workers: int, recipe, clips) -> subprocess.Popen:
    import json

    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(root), str(workers), json.dumps(recipe.to_dict())]
        + [str(clip) for clip in clips],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_something(process: subprocess.Popen, rng: random.Random) -> None:
    """The driver, or, if there are any, perhaps one of its workers; then the driver."""
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if child.name().startswith("ray::Actor")]
    if workers and rng.random() < 0.5:
        victim = rng.choice(workers)
        victim.kill()
        time.sleep(rng.uniform(0, 1.0))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def wait_for_work(root: Path, process: subprocess.Popen) -> None:
    """Until a shard is being written."""
    while process.poll() is None and not list(root.glob("frames/*.part")):
        time.sleep(0.02)


def run_with_kills(root, workers, recipe, clips, kills, seed, longest, committed):
    """Returns how many of the rounds ended in a kill (the others finished before)."""
    rng = random.Random(seed)
    killed = 0
    done: set[str] = set()
    for _ in range(kills):
        process = start(root, workers, recipe, clips)
        if rng.random() < 0.8:  # else perhaps still starting
            wait_for_work(root, process)
        try:
            process.wait(timeout=rng.uniform(0.0, longest))
        except subprocess.TimeoutExpired:
            kill_something(process, rng)
            killed += 1
        counted = {video.id for video in committed(root)}
        assert done <= counted, "what was committed once is lost"
        done = counted
    return killed


def check_as_if_nothing_had_been(root, whole, recipe, clips, contents, committed):
    final = extract(explicit_files(clips), root, recipe, Options(workers=0))
    assert final.left == 0
    assert not read_failures(root)
    ids = [video.id for video in committed(root)]
    assert len(ids) == len(set(ids)), "something was done twice"
    assert contents(root) == contents(whole)
    assert not verify(root, deep=True).problems
    assert not list(root.rglob("*.part"))


@pytest.fixture
def prepare(tmp_path, make_clip, recipe):
    """``prepare(videos)``: clips, their store as one run makes it, and how long that took."""

    def run(videos):
        clips = [make_clip(tmp_path / f"{i}.mp4", frames=120, seed=i) for i in range(videos)]
        summary = extract(explicit_files(clips), tmp_path / "whole", recipe, Options(workers=0))
        assert summary.extracted == videos
        return clips, tmp_path / "whole", summary.wall_seconds - summary.start_seconds

    return run


def test_kills_of_the_driver(tmp_path, recipe, prepare, contents, committed):
    clips, whole, seconds = prepare(12)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    killed = run_with_kills(tmp_path / "S", 0, recipe, clips, 5, seed, seconds / 4, committed)
    assert killed >= 3
    check_as_if_nothing_had_been(tmp_path / "S", whole, recipe, clips, contents, committed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_kills(tmp_path, recipe, prepare, contents, committed, workers):
    clips, whole, seconds = prepare(80)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    longest = seconds / 12
    killed = run_with_kills(tmp_path / "S", workers, recipe, clips, 20, seed, longest, committed)
    assert killed >= 15
    check_as_if_nothing_had_been(tmp_path / "S", whole, recipe, clips, contents, committed)
