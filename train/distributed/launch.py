"""Start training processes with Ray Train, on one machine or on a cluster, and wait for them.

The terminal shows what it would show of one process. If a process fails, the error is that of the
first one that failed, in one line; tracebacks and Ray Train's own messages go into a log file.
"""

import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowkit.extraction.failure_diagnosis import shorten_ray_error
from flowkit.extraction.ray_cluster import find_address, open_ray
from flowkit.store.format.location import find_url
from train.distributed.mailbox import (
    POLL_SECONDS,
    Failure,
    describe_failure,
    make_mailbox,
    show_lines,
)
from train.distributed.parallel import Process
from train.runs.journal import Log
from train.runs.run import RunError, Settings

START_SECONDS = "600"
"""Seconds for all processes to start."""
JOIN_SECONDS = 120.0
"""How long to wait for nodes that join the cluster."""
LOG_NAME = "failure.log"
"""File of the run folder with the tracebacks of the last failure."""
CONTINUE = "Run the same command again to continue from the last checkpoint"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every training process does; sent to them by Ray."""

    work: Callable[[Process, Log], None]
    """Function of the process, and of what shows a line of text to the user."""
    run: Path
    """Folder of the run, absolute."""
    store: Path
    """Folder of the store, absolute; or its URL."""
    facts: bytes
    """Content of the run's file run.json, by which another node recognizes the folder."""
    mailbox: Any
    """Handle of the mailbox."""


def launch(
    work: Callable[[Process, Log], None], run: Path, store: Path, settings: Settings, log: Log
) -> None:
    """Run a function in each of several training processes.

    Args:
        work: The function. It must be picklable.
        run: Folder of the run, on a path that all nodes mount.
        store: Folder of the store, on a path that all nodes mount; or its URL.
        settings: The number of processes and their resources.
        log: Receives lines of text for the user.

    Raises:
        RunError: A process failed, or the cluster is too small. The message has the cause.
        KeyboardInterrupt: SIGINT or SIGTERM came; Ray ends the processes.
    """
    on_gpu = settings.device == "cuda"
    share = {"CPU": 1 if not on_gpu else max(1, settings.workers)}
    # One core more than needed, because the trainer of older Ray versions uses one itself.
    cores = max(len(os.sched_getaffinity(0)), settings.processes * share["CPU"] + 1)
    gpus = torch.cuda.device_count() if on_gpu else 0
    # On a busy machine importing PyTorch may take more than 30 s. After this time Ray Train would
    # stop the processes and start them again, without end.
    environment = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": START_SECONDS}
    log_file, scratch = run / LOG_NAME, run / ".ray_train"
    log_file.unlink(missing_ok=True)
    try:
        with open_ray(find_address(None), cores, gpus, environment) as ray:
            wait_for_resources(ray, settings.processes, share["CPU"], on_gpu, log)
            logging.getLogger("ray.train").setLevel(logging.CRITICAL)
            mailbox = make_mailbox(ray)
            facts = (run / "run.json").read_bytes()
            job = Job(work=work, run=run, store=store, facts=facts, mailbox=mailbox)
            trainer = make_trainer(job, settings.processes, on_gpu, share, scratch)
            try:
                with show_lines(ray, mailbox, log), interrupt_on_signals():
                    trainer.fit()
            except KeyboardInterrupt:
                trainer.kill()
                raise
            except Exception as error:
                failures = ray.get(mailbox.list_failures.remote())
                write_log(log_file, failures, error)
                raise make_run_error(failures, error, settings.processes, log_file) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def wait_for_resources(
    ray: Any, processes: int, cores: int, on_gpu: bool, log: Log, seconds: float = JOIN_SECONDS
) -> None:
    """Wait until the cluster is large enough, since its nodes may still be joining it.

    Args:
        ray: The module ``ray``.
        processes: Number of training processes.
        cores: CPU cores of a process.
        on_gpu: Whether each process needs a GPU.
        log: Receives a line of text if there is something to wait for.
        seconds: How long to wait.

    Raises:
        RunError: The cluster is too small; Ray Train would wait without end.
    """
    needed = {"CPU": processes * cores} | ({"GPU": processes} if on_gpu else {})
    end = time.monotonic() + seconds
    is_waiting = False
    while True:
        total = ray.cluster_resources()
        missing = [kind for kind, count in needed.items() if total.get(kind, 0) < count]
        if not missing:
            return
        problem = (
            f"{processes} training processes need {needed[missing[0]]} {missing[0]}s, the Ray "
            f"cluster has {total.get(missing[0], 0):g}"
        )
        if time.monotonic() > end:
            raise RunError(f"{problem}; use fewer --processes, or add nodes to the cluster")
        if not is_waiting:
            log(f"{problem}; waiting for nodes to join it")
        is_waiting = True
        time.sleep(POLL_SECONDS)


def make_trainer(
    job: Job, processes: int, on_gpu: bool, share: dict[str, int], scratch: Path
) -> Any:
    """Make Ray Train's trainer, which starts each process once.

    Args:
        job: What each process does.
        processes: Number of processes.
        on_gpu: Whether each process needs a GPU.
        share: Ray's resources of a process.
        scratch: Folder for Ray Train's files, which all nodes must see.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from train.distributed.backend import NodeTorchConfig, Trainer

    scratch.mkdir(exist_ok=True)
    return Trainer(
        run_worker,
        train_loop_config={"job": job},
        torch_config=NodeTorchConfig(),
        scaling_config=ScalingConfig(
            num_workers=processes, use_gpu=on_gpu, resources_per_worker=share
        ),
        run_config=RunConfig(
            storage_path=str(scratch), failure_config=FailureConfig(max_failures=0)
        ),
    )


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT and SIGTERM, for which Ray has set handlers of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def make_run_error(
    failures: list[Failure], error: Exception, processes: int, log_file: Path
) -> RunError:
    """Make the error of a training whose processes failed.

    Args:
        failures: What the processes reported, in the order in which it came.
        error: What Ray Train raised.
        processes: Number of processes.
        log_file: File with all tracebacks.
    """
    died = find_dead_process(error)
    expected = [failure for failure in failures if failure.is_expected]
    if expected:
        problem = RunError(expected[0].message)
        problem.exit_code = expected[0].exit_code
        return problem
    if died:
        rank, reason = died
        cause = (
            f"process {rank + 1} of {processes} died: it was killed, or its node was lost "
            f"({reason})"
        )
    elif failures:
        first = failures[0]
        cause = f"process {first.rank + 1} of {processes} on {first.node}: {first.message}"
    else:
        cause = f"Ray Train: {shorten_ray_error(error)}"
    return RunError(f"training failed: {cause}. {log_file} has all messages. {CONTINUE}")


def find_dead_process(error: Exception) -> tuple[int, str] | None:
    """Find the first process that died without an exception: its rank, and Ray's reason."""
    from ray.exceptions import RayActorError

    for rank, failure in sorted(getattr(error, "worker_failures", {}).items()):
        reason = getattr(failure, "health_check_failure", failure)
        if isinstance(reason, RayActorError):
            return rank, shorten_ray_error(reason).rstrip(".")
    return None


def write_log(path: Path, failures: list[Failure], error: Exception) -> None:
    """Write the tracebacks of all processes that failed, and then what Ray Train raised."""
    parts = [
        f"process {failure.rank} on {failure.node}\n{failure.traceback}" for failure in failures
    ]
    path.write_text("\n".join([*parts, f"Ray Train\n{error}\n"]), encoding="utf-8")


# --- in the training processes -------------------------------------------------------------------


def run_worker(config: dict[str, Any]) -> None:
    """Do the work of one training process; Ray Train calls this function there.

    Args:
        config: The `Job`, under the key "job".
    """
    import ray
    from ray.train import get_context

    job: Job = config["job"]
    context = get_context()
    gpu = context.get_local_rank() if torch.cuda.device_count() > 1 else 0
    rank, world = context.get_world_rank(), context.get_world_size()
    node = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
    try:
        check_folders(job, node)
        job.work(Process(rank=rank, world=world, gpu=gpu), job.mailbox.put_line.remote)
    except BaseException as error:
        ray.get(job.mailbox.put_failure.remote(describe_failure(error, rank, node)))
        raise


def check_folders(job: Job, node: str) -> None:
    """Check that this node sees the run and the store.

    Raises:
        RunError: It does not, or it sees another folder at that path.
    """
    advice = "put it on a path that every node mounts"
    facts = job.run / "run.json"
    if not facts.is_file() or facts.read_bytes() != job.facts:
        raise RunError(f"node {node} does not see the run at {job.run}: {advice}")
    if find_url(job.store) is None and not job.store.is_dir():
        raise RunError(f"node {node} does not see the store at {job.store}: {advice}")
