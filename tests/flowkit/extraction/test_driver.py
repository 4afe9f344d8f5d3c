"""The driver, with a pretended Ray: which videos are tried again after their worker died."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowkit.extraction.actors import PoolSize
from flowkit.extraction.callbacks import RunCallbacks
from flowkit.extraction.driver import Driver
from flowkit.extraction.failure_diagnosis import GPU_FAILED
from flowkit.extraction.options import RunOptions
from flowkit.extraction.tasks import ExtractionTask
from flowkit.version import __version__

TRACES = {
    "crash": "Fatal Python error: Segmentation fault\n",
    "gpu": f"{GPU_FAILED}CUDA error: unknown\n",
}


class ActorDied(Exception):
    """Stands for RayActorError."""


class Call:
    """A call in progress; `result` is an exception if it fails, None while it runs."""

    def __init__(self, result=None):
        self.result = result


class Process:
    """An actor whose process dies as `deaths` says: for each video, the kinds of its deaths."""

    def __init__(self, deaths, crash_path):
        self.deaths, self.crash_path, self.running = deaths, crash_path, []
        self.start = SimpleNamespace(remote=lambda: Call(f"host {__version__}"))
        self.close = SimpleNamespace(remote=lambda lane: Call("closed"))
        self.extract = SimpleNamespace(remote=self.begin)

    def begin(self, task, lane):
        call = Call()
        self.running.append((task, call))
        return call

    def end_calls(self):
        """End all calls; if one kills the process, all of them fail."""
        running, self.running = self.running, []
        deaths = [self.deaths[task.id].pop(0) for task, _ in running if self.deaths[task.id]]
        for kind in deaths[:1]:
            self.crash_path.write_text(TRACES.get(kind, ""))
        for task, call in running:
            if deaths:
                call.result = ActorDied("low on memory" if deaths[0] == "oom" else "died")
            else:
                call.result = task.make_outcome("done")


class PretendedRay:
    """The parts of the module ray that the driver uses."""

    exceptions = SimpleNamespace(RayActorError=ActorDied, RayError=ActorDied)

    def __init__(self, deaths):
        self.deaths, self.processes = defaultdict(list, deaths), []

    def nodes(self):
        return []

    def remote(self, **limits):
        return lambda cls: SimpleNamespace(options=lambda **more: SimpleNamespace(remote=self.make))

    def make(self, setup, crash_path, token, sample, lanes):
        self.processes.append(Process(self.deaths, crash_path))
        return self.processes[-1]

    def wait(self, calls, num_returns=1, timeout=0.0):
        for process in self.processes:
            process.end_calls()
        return [call for call in calls if call.result is not None], []

    def get(self, call):
        if isinstance(call.result, Exception):
            raise call.result
        return None if call.result == "closed" else call.result

    def kill(self, actor):
        pass


@dataclass(frozen=True)
class Setup:
    """The parts of `WorkerFactory` that the driver uses."""

    root: Path
    size: PoolSize
    backend: str = ""
    part: tuple = (0, 1)
    lanes: int = 1

    def choose_size(self, nodes, requested_workers, tasks):
        return self.size


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """Run a driver; return its outcomes by id and its lines."""
    monkeypatch.setattr("flowkit.extraction.driver.time.sleep", lambda seconds: None)

    def run(deaths, ids=("a",), lanes=1):
        outcomes, lines = {}, []
        callbacks = RunCallbacks(
            on_start=lambda workers, backend: None,
            on_outcome=lambda outcome: outcomes.update({outcome.id: outcome}),
            on_progress=lambda id, share: None,
            log=lines.append,
            interrupt=SimpleNamespace(is_requested=False),
            recover=lambda: (),
        )
        setup = Setup(tmp_path, PoolSize(workers=lanes, lanes=lanes, actors=1, gpus=0))
        tasks = [ExtractionTask(id=id, source=tmp_path / id, streams=("rgb",)) for id in ids]
        Driver(PretendedRay(deaths), tasks, setup, RunOptions(), callbacks).run()
        return outcomes, lines

    return run


@pytest.mark.parametrize("innocent", [["oom"], ["gpu"], ["oom", "gpu", "oom"], ["lost"]])
def test_deaths_of_other_kinds_leave_a_crash_its_second_try(drive, innocent):
    outcomes, lines = drive({"a": [*innocent, "crash"]})
    assert outcomes["a"].status == "done"
    assert len(lines) == len(innocent) + 1 and "crashed" in lines[-1]


def test_a_second_crash_quarantines_and_counts_only_crashes(drive):
    outcomes, _ = drive({"a": ["oom", "crash", "oom", "crash", "crash"]})
    outcome = outcomes["a"]
    assert (outcome.status, outcome.kind, outcome.attempts) == ("failed", "crash", 4)
    assert outcome.reason.endswith("a: its worker crashed: Segmentation fault, 2 times")


@pytest.mark.parametrize(("kind", "tries"), [("oom", 5), ("gpu", 3)])
def test_deaths_that_blame_no_video_leave_it_for_the_next_run(drive, kind, tries):
    outcomes, lines = drive({"a": ["crash"] + [kind] * tries})
    assert outcomes["a"].status == "stopped"
    assert lines[-1].startswith("left for the next run: ")
    assert lines[-1].endswith(f", {tries} times")


def test_a_death_of_several_lanes_counts_only_for_its_kind(drive):
    outcomes, _ = drive({"a": ["oom", "crash"]}, ids=("a", "b", "c"), lanes=3)
    assert {id: outcome.status for id, outcome in outcomes.items()} == dict.fromkeys("abc", "done")
    assert outcomes["a"].attempts == 3
