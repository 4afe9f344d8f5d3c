"""A few trials of each kind, and that the runner reports what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROKEN = """
import os, sys, time
from pathlib import Path
from tests.torture.runner import Runner, SharedData
from tests.torture.trial import Kind

def die(shared, folder, rng, outcome):
    outcome.counts["mutations"] += 1
    if folder.name.endswith("-1"):
        os._exit(9)

def hang(shared, folder, rng, outcome):
    time.sleep(60 * (folder.name.endswith("-0")))

def fail(shared, folder, rng, outcome):
    raise KeyError(rng.randrange(1000))

kinds = [Kind("die", "", die), Kind("hang", "", hang, limit=0.5), Kind("fail", "", fail)]
runner = Runner(SharedData(Path(sys.argv[1])), kinds, 5, lambda text: None)
runner.run(counts={"die": 4, "hang": 2, "fail": 2})
for kind in kinds:
    tally = runner.tallies[kind.name]
    print(kind.name, tally.trials, len(tally.findings), tally.counts["mutations"])
print(*runner.tallies["die"].findings, *runner.tallies["hang"].findings)
print(*runner.tallies["fail"].findings)
"""
LOSSY = """
import sys
from pathlib import Path
from flowkit.store.format import atomic, shard_file
from tests.torture.kinds import KINDS
from tests.torture.runner import Runner, SharedData

class Unsynced:  # a store that forgets to sync what it commits
    def __getattr__(self, name):
        return (lambda descriptor: None) if name == "fsync" else getattr(real, name)

real = atomic.os
atomic.os = shard_file.os = Unsynced()
kinds = [kind for kind in KINDS if kind.name == "commits"]
runner = Runner(SharedData(Path(sys.argv[1])), kinds, 1, lambda text: None)
runner.run(counts={"commits": 40})
print(len(runner.tallies["commits"].findings))
"""


def run(*arguments: str, seconds: float = 280) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, since trials fork."""
    command = [sys.executable, "-W", "ignore", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_a_few_trials_of_each_kind():
    done = run("-m", "tests.torture", "--short", "--seed", "0")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "what must hold" in done.stdout


def test_the_runner_reports_trials_that_die_hang_or_fail(tmp_path):
    done = run("-c", BROKEN, str(tmp_path))
    lines = done.stdout.splitlines()
    assert lines[:3] == ["die 4 1 3", "hang 2 1 0", "fail 2 2 0"], done.stderr
    assert "--seed 5 --trial die:1 ():" in done.stdout
    assert "the process ended with 9" in done.stdout
    assert "--trial hang:0" in done.stdout and "no answer within 0 s" in done.stdout
    assert "--trial fail:1" in done.stdout and "KeyError" in done.stdout


def test_a_trial_is_repeated_by_its_seed_and_number():
    first, second = (run("-m", "tests.torture", "--trial", "labels:7", "--seed", "3").stdout
                     for _ in range(2))  # fmt: skip
    assert first == second
    assert first.endswith("nothing is wrong\n")


@pytest.mark.slow
def test_commits_that_are_not_synced_are_found(tmp_path):
    """Without fsync, a cut of the power must lose something that counted."""
    done = run("-c", LOSSY, str(tmp_path))
    assert int(done.stdout) > 0, done.stderr
