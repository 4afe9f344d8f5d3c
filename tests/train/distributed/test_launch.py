"""Processes that Ray Train starts: what the terminal shows, and what it says of a failure."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.errors import DiskFullError, UsageError
from flowkit.extraction.ray_cluster import import_ray, open_ray
from train.distributed.launch import (
    LOG_NAME,
    Job,
    check_folders,
    launch,
    make_run_error,
    wait_for_resources,
    write_log,
)
from train.distributed.mailbox import Failure, Mailbox, describe_failure, show_lines
from train.loop.session import train
from train.runs.run import RunError, Settings

TWO = Settings(threads=1, workers=0, processes=2)


def ray_train(test):
    """Mark a test that starts Ray Train, which takes minutes on a busy machine."""
    marks = pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")
    for mark in marks:  # the last: Ray's own use of Ray, and what it leaves open
        test = mark(test)
    return test


def fail(error: Exception, rank: int = 1) -> Failure:
    try:
        raise error
    except type(error) as raised:
        return describe_failure(raised, rank, "node-a (10.0.0.2)")


class Died(Exception):
    """What Ray Train raises if processes died."""

    def __init__(self, *ranks: int) -> None:
        super().__init__("Training failed due to worker errors:\nmany\nlines")
        died = import_ray().exceptions.ActorDiedError
        self.worker_failures = {rank: died() for rank in ranks}


CONNECTION = RuntimeError("[enforce fail at …] Connection closed by peer [10.0.0.3]:38107")
# What the processes reported in order, what makes what Ray Train raised, and the line.
FAILURES = {
    "an error of a library": (
        [ValueError("too\nlarge"), CONNECTION], Died,
        r"process 2 of 2 on node-a \(10.0.0.2\): ValueError: too large\. .*failure.log has all",
    ),
    "an error of flowkit's": ([RunError("no such thing; do that"), CONNECTION], Died,
                              r"^no such thing; do that$"),
    "a death, which the other process notices": (
        [CONNECTION], lambda: Died(1), r"process 2 of 2 died: it was killed, or its node was lost"),
    "an error that only Ray Train has": (
        [], lambda: OSError("no space\nfor logs"), r"failed: Ray Train: no space\. "),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_the_cause_of_a_failure_is_one_line(case, tmp_path):
    errors, make_raised, expected = FAILURES[case]
    raised = make_raised()
    failures = [fail(error) for error in errors]
    path = tmp_path / LOG_NAME
    write_log(path, failures, raised)
    error = make_run_error(failures, raised, 2, path)
    with pytest.raises(RunError, match=expected):
        raise error
    assert error.exit_code == 1
    assert len(str(error).splitlines()) == 1 and len(str(error)) < 700
    content = path.read_text()
    assert content.count("Traceback") == len(errors) and str(raised) in content


def test_a_full_disk_keeps_its_exit_code(tmp_path):
    error = make_run_error([fail(DiskFullError("no space left"))], Died(), 2, tmp_path)
    assert (str(error), error.exit_code) == ("no space left", 3)


class NoCluster:
    """Ray, as far as the lines of a mailbox need it: calls answer at once."""

    class exceptions:  # noqa: N801
        RayError = OSError

    @staticmethod
    def get(answer, timeout):
        if isinstance(answer, Exception):
            raise answer
        return answer


class Handle:
    """The handle of a mailbox in this process."""

    def __init__(self, mailbox, error=None):
        self.mailbox, self.error, self.remote = (
            mailbox,
            error,
            lambda: error or mailbox.take_lines(),
        )

    @property
    def take_lines(self):
        return self


def test_lines_are_shown_as_they_come_and_the_last_ones_too():
    mailbox, shown = Mailbox(), []
    with show_lines(NoCluster, Handle(mailbox), shown.append):
        mailbox.put_line("a")
        deadline = time.monotonic() + 20
        while not shown and time.monotonic() < deadline:
            time.sleep(0.01)
        assert shown == ["a"]
        mailbox.put_line("b")
    assert shown == ["a", "b"]


def test_a_lost_mailbox_ends_the_lines_and_nothing_else():
    with show_lines(NoCluster, Handle(Mailbox(), OSError("lost")), print):
        pass


def test_folders_that_a_node_does_not_see(tmp_path):
    run, store = tmp_path / "R", tmp_path / "S"
    job = Job(work=None, run=run, store=store, facts=b"{}", mailbox=None)
    with pytest.raises(RunError, match=f"node a does not see the run at {run}: put it on a path"):
        check_folders(job, "a")
    run.mkdir()
    (run / "run.json").write_text("{'of': 'another'}")
    with pytest.raises(RunError, match="does not see the run"):
        check_folders(job, "a")
    (run / "run.json").write_text("{}")
    with pytest.raises(RunError, match=f"node a does not see the store at {store}: put it on"):
        check_folders(job, "a")
    store.mkdir()
    check_folders(job, "a")


class Growing:
    """Ray, whose cluster has one more core each time that it is asked."""

    def __init__(self):
        self.cores = 0

    def cluster_resources(self):
        self.cores += 1
        return {"CPU": float(self.cores)}


def test_nodes_that_are_joining_are_waited_for():
    lines = []
    wait_for_resources(Growing(), 1, 1, False, lines.append)
    assert lines == []
    wait_for_resources(Growing(), 2, 1, False, lines.append)
    expected = "2 training processes need 2 CPUs, the Ray cluster has 1"
    assert lines == [f"{expected}; waiting for nodes to join it"]
    with pytest.raises(RunError, match=r"need 2 GPUs, the Ray cluster has 0; use fewer --proc"):
        wait_for_resources(Growing(), 2, 1, True, lines.append, seconds=0.5)


def test_the_interface_of_an_address():
    import_ray()  # before the next line imports Ray without our settings
    from train.distributed.backend import find_interface

    assert find_interface("127.0.0.1").startswith("lo")
    assert find_interface("192.0.2.1") is None  # reserved for documentation


def test_a_batch_that_cannot_be_divided_starts_no_process(begin, store):
    run = begin(training__batch=5)
    with pytest.raises(UsageError, match="a batch of 5 videos cannot be divided among 2 processes"):
        train(run, store, TWO, print)


# --- with Ray ------------------------------------------------------------------------------------


@ray_train
def test_two_processes_print_what_one_prints(store, tmp_path, tiny_changes, monkeypatch, capfd):
    """The README's own recipe, with all its phases."""
    shown = {}
    for processes in (1, 2):
        changes = [
            word for key, value in tiny_changes.items() for word in ("--set", f"{key}={value}")
        ]
        command = ["train", "motion8_cma", "--store", str(store.path), "--workers", "0"]
        command += ["--run", str(tmp_path / f"R{processes}"), "--processes", str(processes)]
        result = CliRunner().invoke(main, [*command, *changes, "--threads", "1"])
        assert result.exit_code == 0, result.output
        lines = result.output.replace(f"R{processes}", "R").splitlines()
        shown[processes] = [line.partition(", loss")[0] for line in lines]
    assert shown[1] == shown[2]
    assert any(line == "uniform: epoch 2/2" for line in shown[2])
    assert capfd.readouterr() == ("", "")  # nothing of Ray Train's
    left = {path.name for path in (tmp_path / "R2").iterdir()}
    assert left == {path.name for path in (tmp_path / "R1").iterdir()}


def work_and_fail(kind: str):
    """Work of which the second process fails, while the first one waits for it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])

    def work(process, log):
        log(f"process {process.rank}")
        if process.rank == 1:
            time.sleep(1)
            if kind == "raise":
                raise ValueError("too\nlarge")
            if kind == "refuse":
                raise RunError("no such thing; do that")
            os.kill(os.getpid(), signal.SIGKILL)
        dist.barrier()

    return work


@ray_train
def test_a_process_that_fails_is_named(begin, store, capfd):
    run, lines = begin(), []
    expected = {
        "raise": r"process 2 of 2 on \S+ \([\d.]+\): ValueError: too large\. ",
        "refuse": r"^no such thing; do that$",
        "die": r"process 2 of 2 died: it was killed, or its node was lost",
    }
    with open_ray(None, 3, 0):
        for kind, message in expected.items():
            with pytest.raises(RunError, match=message):
                launch(work_and_fail(kind), run.path, store.path, TWO, lines.append)
            content = (run.path / LOG_NAME).read_text()
            assert ("ValueError: too\nlarge" in content) == (kind == "raise")
        logging.getLogger("ray.train").setLevel(logging.NOTSET)
    assert sorted(lines) == ["process 0"] * 3 + ["process 1"] * 3
    assert capfd.readouterr() == ("", "")
    assert not (run.path / ".ray_train").exists()


@ray_train
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes(store, tmp_path, tiny_changes, sent):
    values = {**tiny_changes, "training.epochs": 100000}
    changes = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "flowkit", "train", "motion8_cma", "--store", str(store.path)]
    command += ["--run", str(tmp_path / "R"), "--processes", "2", "--workers", "0", *changes]
    process = subprocess.Popen(
        [*command, "--threads", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    epochs = tmp_path / "R" / "phases" / "flow" / "epochs.jsonl"
    deadline = time.monotonic() + 600
    while not (epochs.exists() and epochs.read_text()) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (130, "\ninterrupted\n")
    assert not any("R" in line for line in list_processes(str(tmp_path)))
    assert (Path(epochs).parent / "checkpoint.pt").is_file()


def list_processes(text: str) -> list[str]:
    """List the command lines of all processes that contain a text."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if text in line]
