"""Execute the tasks of a run on Ray: join a cluster or start a local one, and run the driver."""

import functools
import gc
import inspect
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowkit.errors import FlowkitError
from flowkit.extraction.callbacks import RunCallbacks
from flowkit.extraction.driver import Driver
from flowkit.extraction.failure_diagnosis import shorten_ray_error
from flowkit.extraction.options import RunOptions
from flowkit.extraction.ray_session import end_processes, find_start_error, make_session
from flowkit.extraction.tasks import WorkerTask
from flowkit.extraction.worker_setup import WorkerFactory
from flowkit.flow import BACKENDS
from flowkit.flow.backends import count_gpus
from flowkit.path_text import replace_surrogates

CONNECT_SECONDS = 10.0
"""Seconds to wait for a cluster to answer."""


def run_on_ray(
    jobs: Sequence[WorkerTask], setup: WorkerFactory, options: RunOptions, callbacks: RunCallbacks
) -> None:
    """Execute the tasks on the cluster at ``options.address``, or on a local one for this run.

    Args:
        jobs: The tasks, in the order in which they are started.
        setup: Makes the workers.
        options: The number of workers, and how they are watched.
        callbacks: Functions to call while the tasks are executed.

    Raises:
        FlowkitError: Ray or the cluster cannot be used.
    """
    cores = len(os.sched_getaffinity(0))
    gpus = max(1, count_gpus()) if setup.needs_gpu else 0
    # A GPU has one lane for each core of its share, so all cores of the machine are offered.
    cores = max(cores, gpus) if gpus else min(options.workers or cores, len(jobs))
    with open_ray(find_address(options.address), cores, gpus) as ray:
        callbacks.interrupt.install_handlers()  # Ray has replaced them
        if setup.backend == "auto":
            setup = replace(setup, backend=choose_backend(ray, callbacks.log))
        Driver(ray, jobs, setup, options, callbacks).run()


@contextmanager
def open_ray(
    address: str | None, cores: int, gpus: int, variables: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """Connect to a Ray cluster while the context is open.

    If Ray is connected already, that connection is used and left open.

    Args:
        address: Address of the cluster; None starts a local one.
        cores: Number of CPU cores of a local cluster.
        gpus: Number of GPUs of a local cluster.
        variables: Environment variables of the processes on the cluster.

    Yields:
        The module ``ray``.

    Raises:
        FlowkitError: Ray or the cluster cannot be used.
    """
    if address and "ray" not in sys.modules:
        check_address(address)
        choose_auth_mode(address)
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False}
    if variables:
        options["runtime_env"] = {"env_vars": dict(variables)}
    with nullcontext() if address else make_session() as folder:
        if address:
            connect(ray, address, options)
        elif folder is not None:
            start(ray, folder, cores, gpus, options)
        try:
            yield ray
        finally:
            shut_down(ray)


def shut_down(ray: Any) -> None:
    """Shut Ray down, and free what it holds in this process."""
    can_wait = "wait_for_processes" in inspect.signature(ray.shutdown).parameters
    ray.shutdown(**({"wait_for_processes": True} if can_wait else {}))
    # Ray leaves clients that own threads in reference cycles. If they were collected in a process
    # that is forked later (a loader worker), where those threads do not exist, that process would
    # crash.
    gc.collect()


def find_address(address: str | None) -> str | None:
    """Return the address of the cluster to join, or None to start a local one."""
    return address or os.environ.get("RAY_ADDRESS") or None


def choose_backend(ray: Any, log: Callable[[str], None]) -> str:
    """Choose the backend of a cluster: triton if one of its GPU nodes can run it, else numba.

    Raises:
        FlowkitError: No GPU node answers.
    """
    if ray.cluster_resources().get("GPU", 0) < 1:
        return "numba"
    remote_function = ray.remote(num_gpus=1, num_cpus=0, max_retries=0)(find_obstacle)
    try:
        obstacle = ray.get(remote_function.remote("triton"), timeout=6 * CONNECT_SECONDS)
    except ray.exceptions.RayError as error:
        reason = shorten_ray_error(error)
        raise FlowkitError(
            f"no GPU node of the cluster answers whether it can compute flow: {reason}; "
            "name the backend, --backend triton or --backend numba"
        ) from error
    if obstacle is None:
        return "triton"
    log(f"flow runs on the CPU, since the triton backend cannot use the cluster's GPUs: {obstacle}")
    return "numba"


def find_obstacle(backend: str) -> str | None:
    """Return why a backend cannot run on this node, or None; called on the nodes of a cluster."""
    return BACKENDS[backend].find_obstacle()


def import_ray() -> Any:
    """Import Ray, after setting the environment variables that it reads on import."""
    # `uv run` drivers would make each worker run `uv run` again (ray#50961).
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray prints many lines on stdout for each dead worker; the summary reports it in one.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    try:
        import ray
    except ImportError as error:
        raise FlowkitError(
            f"Ray cannot be imported ({error}): pip install 'ray[train]', or take --workers 0, "
            "which works without it"
        ) from error

    # Ray encodes this process's command line as UTF-8, which fails in some locales.
    utils = ray._private.utils
    get_name = utils.get_entrypoint_name
    if not hasattr(get_name, "__wrapped__"):
        utils.get_entrypoint_name = functools.wraps(get_name)(
            lambda: replace_surrogates(get_name())
        )
    return ray


def connect(ray: Any, address: str, options: Mapping[str, Any]) -> None:
    """Join the cluster at ``address``; raise a FlowkitError if it cannot be used."""
    try:
        ray.init(address=address, logging_level="ERROR", **options)
    except Exception as error:
        raise FlowkitError(
            f"cannot use Ray cluster at {address}: {shorten_ray_error(error)}; `flowkit doctor` "
            "says more, --workers 0 works without Ray (if the reason above is about tokens: copy "
            "the head's ~/.ray/auth_token to this machine)"
        ) from error


def start(ray: Any, folder: Path, cores: int, gpus: int, options: Mapping[str, Any]) -> None:
    """Start a local cluster with ``cores`` cores and ``gpus`` GPUs; its files go to ``folder``."""
    try:
        ray.init(
            address="local",
            num_cpus=cores,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=80 << 20,  # only small messages pass through it
            logging_level="CRITICAL",  # else it prints pages of logs
            _temp_dir=str(folder),
            **options,
        )
    except Exception as error:
        reason = find_start_error(folder) or shorten_ray_error(error)
        end_processes(folder)
        raise FlowkitError(
            f"Ray does not start on this machine: {reason}; --workers 0 works without Ray, and "
            "`flowkit doctor` checks the machine"
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)


def choose_auth_mode(address: str) -> None:
    """Set Ray's authentication mode, before its import, to that of the cluster at ``address``.

    `ray start` requires a token once the user has one, and any earlier local run creates one.
    ``ray.init`` does not send the token to an explicit address by itself, and a client that sends
    it to a cluster without authentication cannot start actors there. A health check therefore
    finds out first which mode the cluster uses.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    try:
        answer = subprocess.run(
            [*command, "health-check", "--address", address],
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=6 * CONNECT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return  # ray.init will say more
    if "AuthToken" in answer.stdout + answer.stderr:
        os.environ["RAY_AUTH_MODE"] = "token"


def check_address(address: str) -> None:
    """Raise a FlowkitError if nothing listens at ``address``.

    Ray itself would retry for minutes, and log each attempt.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto" and "local" are handled by Ray
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise FlowkitError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, "
            "or leave out --address and unset RAY_ADDRESS"
        ) from None
