"""Trials: an extraction of videos is killed or interrupted at random moments, then completed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from flowkit.annotations import explicit_files
from flowkit.extraction import Options
from flowkit.extraction.run import extract
from flowkit.flow import TVL1Params
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import Store, read_failures
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.integrity.verify import verify
from tests.torture.trial import INTERRUPTED, REFUSED, Outcome, describe_end, fork, wait

RECIPE = StoreRecipe(
    resize=Resize(width=16, height=16),
    rgb=RGBRecipe(),
    flow=FlowRecipe(tvl1=TVL1Params(scales=1, warps=1, iterations=2)),
)
RUN = """
import json, sys
from pathlib import Path
from flowkit.annotations import explicit_files
from flowkit.extraction import Options
from flowkit.extraction.run import extract
from flowkit.recipe import StoreRecipe
root, recipe, *clips = sys.argv[1:]
extract(explicit_files([Path(clip) for clip in clips]), Path(root),
        StoreRecipe.from_dict(json.loads(recipe)), Options(workers=2, roll_seconds=0.05))
"""
"""An extraction with workers on Ray."""


def extract_clips(root: Path, clips: list[Path], roll_seconds: float = 0.001) -> None:
    """Extract the clips in this process, with a shard for each."""
    extract(explicit_files(clips), root, RECIPE, Options(workers=0, roll_seconds=roll_seconds))


def read_bytes(root: Path) -> dict[str, Any]:
    """Read all images of a store."""
    store = Store(root)
    return {
        id: (
            [video.rgb_bytes(t) for t in range(video.num_frames)],
            [video.flow_bytes(t) for t in range(video.num_flow)],
            video.times().tolist(),
        )
        for id in store
        for video in [store[id]]
    }


def prepare(shared: Any) -> tuple[dict[str, Any], float]:
    """Extract the clips undisturbed; return what the store holds, and the seconds that took."""
    root = shared.folder / "undisturbed"
    extract_clips(root, shared.clips)
    shutil.rmtree(root)
    started = time.monotonic()
    extract_clips(root, shared.clips)
    return read_bytes(root), time.monotonic() - started


def run_trial(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Kill or interrupt runs, and complete the last one."""
    expected, seconds = shared.get("signals")
    root, done = folder / "store", set[str]()
    for number in range(rng.choice((1, 2, 4))):
        log = folder / f"log{number}"
        process = fork(lambda: extract_clips(root, shared.clips), log)
        kind = rng.choice(("KILL", "KILL", "INT", "TERM", "INT twice", "TERM twice"))
        outcome.what += f"{kind} "
        time.sleep(rng.uniform(0, 1.1 * seconds))
        number_sent = getattr(signal, f"SIG{kind[:4].strip()}")
        os.kill(process, number_sent)
        if kind.endswith("twice"):
            time.sleep(rng.choice((0, rng.uniform(0, seconds / 4))))
            os.kill(process, number_sent)
        outcome.counts["SIGKILL" if kind == "KILL" else "signals"] += 1
        allowed = {0, -number_sent, INTERRUPTED, REFUSED}
        end = describe_end(wait(process, 60), log, allowed)
        if end:
            outcome.problems.append(f"{kind}: {end}")
        counted = list_committed(root)
        if done - counted:
            outcome.problems.append(f"lost: {sorted(done - counted)}")
        done = counted
    check(root, shared.clips, expected, outcome)


def list_committed(root: Path) -> set[str]:
    """List the videos of all commit records."""
    return {video.id for path in record_paths(root) for video in read_record(path).videos}


def check(root: Path, clips: list[Path], expected: dict[str, Any], outcome: Outcome) -> None:
    """Complete the store, and compare it with that of an undisturbed run."""
    extract_clips(root, clips)
    videos = [video.id for path in record_paths(root) for video in read_record(path).videos]
    if len(videos) != len(set(videos)):
        outcome.problems.append(f"extracted twice: {sorted(videos)}")
    if read_bytes(root) != expected:
        outcome.problems.append("not the bytes of an undisturbed run")
    if failures := read_failures(root):
        outcome.problems.append(f"failures: {list(failures.values())}")
    report = verify(root)
    if not report.clean or list(root.rglob("*.part")):
        outcome.problems.append(f"left: {report.problems} {list(root.rglob('*.part'))}")


def prepare_ray(shared: Any) -> tuple[dict[str, Any], float]:
    """Use the same clips; a run with its start takes about this many seconds."""
    if "signals" not in shared._prepared:
        shared._prepared["signals"] = prepare(shared)
    return shared.get("signals")


def run_ray_trial(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Kill a worker, the driver or the whole group of a run on Ray, and complete it."""
    expected, _ = shared.get("ray")
    root, log = folder / "store", folder / "log"
    arguments = [str(root), json.dumps(RECIPE.to_dict()), *map(str, shared.clips)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    outcome.what = rng.choice(("worker", "driver", "group"))
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if list(root.glob("frames/*")):
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.5))
    if process.poll() is None:
        kill(process, outcome)
    try:
        process.wait(90)
    except subprocess.TimeoutExpired:
        outcome.problems.append("the run does not end")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if "Traceback (most recent call last)" in log.read_text(errors="replace"):
        outcome.problems.append(f"traceback: {log.read_text(errors='replace')[-600:]}")
    check(root, shared.clips, expected, outcome)


def kill(process: subprocess.Popen, outcome: Outcome) -> None:
    """Kill what ``outcome.what`` names."""
    outcome.counts["SIGKILL"] += 1
    if outcome.what == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif outcome.what == "driver":
        process.kill()
    else:
        for child in psutil.Process(process.pid).children(recursive=True):
            if child.name().startswith("ray::Actor"):
                child.kill()
                return
