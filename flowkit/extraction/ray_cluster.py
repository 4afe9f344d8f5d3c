"""Execute the tasks of a run on Ray, in an existing cluster or in a local one that is started.

Ray calls the process that starts actors its driver. Here this process is the Ray driver, and its
loop, which gives the tasks to the actors, is the class `Driver`.
"""

import functools
import gc
import inspect
import logging
import os
import socket
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
from flowkit.extraction.ray_session import find_start_error, kill_processes, make_session
from flowkit.extraction.ray_token import COPY_ADVICE, choose_auth_mode
from flowkit.extraction.tasks import WorkerTask
from flowkit.extraction.worker_setup import WorkerFactory
from flowkit.flow import BACKENDS
from flowkit.flow.backends import count_gpus
from flowkit.flow.learned.device import DEVICES, find_cuda_obstacle
from flowkit.path_text import replace_surrogates

CONNECT_SECONDS = 10.0
"""Seconds to wait for a cluster to answer."""


def run_on_ray(
    tasks: Sequence[WorkerTask], setup: WorkerFactory, options: RunOptions, callbacks: RunCallbacks
) -> None:
    """Execute the tasks on the cluster at ``options.address``, or on a local one for this run.

    Args:
        tasks: The tasks, in the order in which they are started.
        setup: The settings from which each actor makes its workers.
        options: The number of workers, and when a worker counts as hung.
        callbacks: What the driver calls while the tasks are executed.

    Raises:
        FlowkitError: Ray or the cluster cannot be used.
    """
    cores = len(os.sched_getaffinity(0))
    # At least one, so that an actor starts, which says why there is none.
    gpus = max(1, count_gpus()) if setup.needs_gpu else 0
    # With GPUs, the local cluster has all cores, which the driver divides among the GPUs.
    cores = max(cores, gpus) if gpus else min(options.workers or cores, len(tasks))
    with open_ray(find_address(options.address), cores, gpus) as ray:
        callbacks.interrupt.install_handlers()  # again, since ray.init replaces signal handlers
        if setup.backend == "auto":
            flow = setup.recipe.flow
            names = DEVICES if flow is not None and flow.is_learned else ("triton", "numba")
            setup = replace(setup, backend=choose_backend(ray, callbacks.log, *names))
        Driver(ray, tasks, setup, options, callbacks).run()


@contextmanager
def open_ray(
    address: str | None, cores: int, gpus: int, environment: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """Connect to a Ray cluster while the context is open.

    If Ray is connected already, that connection is used and left open.

    Args:
        address: Address of the cluster; None starts a local one.
        cores: Number of CPU cores of a local cluster.
        gpus: Number of GPUs of a local cluster.
        environment: Environment variables to set in the processes on the cluster.

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
    if environment:
        options["runtime_env"] = {"env_vars": dict(environment)}
    with nullcontext() if address else make_session() as folder:
        if address:
            connect_to_cluster(ray, address, options)
        elif folder is not None:
            start_local_cluster(ray, folder, cores, gpus, options)
        try:
            yield ray
        finally:
            shut_down(ray)


def shut_down(ray: Any) -> None:
    """Shut Ray down, and free what it holds in this process."""
    # Older versions of Ray do not have this argument.
    has_wait_option = "wait_for_processes" in inspect.signature(ray.shutdown).parameters
    ray.shutdown(**({"wait_for_processes": True} if has_wait_option else {}))
    # Ray leaves objects that own threads in reference cycles, so they are collected here. A process
    # that is forked later, such as a data loader worker, has the objects but not their threads; it
    # would crash if it collected them.
    gc.collect()


def find_address(address: str | None) -> str | None:
    """Return the address of the cluster to connect to, or None to start a local one."""
    return address or os.environ.get("RAY_ADDRESS") or None


def choose_backend(
    ray: Any, log: Callable[[str], None], on_gpu: str = "triton", on_cpu: str = "numba"
) -> str:
    """Choose the backend of a cluster, according to whether one of its GPU nodes can use its GPU.

    Args:
        ray: The module ``ray``.
        log: Called with a line that explains why the GPUs are not used, if so.
        on_gpu: The backend that is chosen if a GPU node can run it.
        on_cpu: The backend that is chosen otherwise.

    Raises:
        FlowkitError: The check did not run on any node with a GPU.
    """
    if ray.cluster_resources().get("GPU", 0) < 1:
        return on_cpu
    remote_function = ray.remote(num_gpus=1, num_cpus=0, max_retries=0)(explain_unusable_backend)
    try:
        reason = ray.get(remote_function.remote(on_gpu), timeout=6 * CONNECT_SECONDS)
    except ray.exceptions.RayError as error:
        reason = shorten_ray_error(error)
        # The option --backend is for TV-L1 only.
        options = f"choose the backend with --backend {on_gpu} or --backend {on_cpu}"
        raise FlowkitError(
            f"no GPU node of the cluster could be checked for the {on_gpu} backend: {reason}; "
            f"{options if on_gpu in BACKENDS else 'repair the node, or use a cluster without GPUs'}"
        ) from error
    if reason is None:
        return on_gpu
    log(f"flow runs on the CPU, since the {on_gpu} backend cannot use the cluster's GPUs: {reason}")
    return on_cpu


def explain_unusable_backend(backend: str) -> str | None:
    """Return why a backend cannot be used on this node, or None if it can; Ray calls it there."""
    return BACKENDS[backend].find_obstacle() if backend in BACKENDS else find_cuda_obstacle()


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
            f"Ray cannot be imported ({error}): pip install 'ray[train]', or use --workers 0, "
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


def connect_to_cluster(ray: Any, address: str, options: Mapping[str, Any]) -> None:
    """Connect to the cluster at ``address``; raise a FlowkitError if it cannot be used."""
    try:
        ray.init(address=address, logging_level="ERROR", **options)
    except Exception as error:
        raise FlowkitError(
            f"cannot use Ray cluster at {address}: {shorten_ray_error(error)}; `flowkit doctor "
            f"--address {address}` says more, --workers 0 works without Ray (if the reason above "
            f"is about tokens: {COPY_ADVICE})"
        ) from error


def start_local_cluster(
    ray: Any, folder: Path, cores: int, gpus: int, options: Mapping[str, Any]
) -> None:
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
        kill_processes(folder)
        raise FlowkitError(
            f"Ray does not start on this machine: {reason}; --workers 0 works without Ray, and "
            "`flowkit doctor` checks the machine"
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)


def check_address(address: str) -> None:
    """Raise a FlowkitError if nothing listens at ``address``.

    Ray itself would retry for minutes, and log each attempt.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # Ray itself resolves "auto" and "local"
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: it cannot be the name of a host
        raise FlowkitError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, "
            "or leave out --address and unset RAY_ADDRESS"
        ) from None
