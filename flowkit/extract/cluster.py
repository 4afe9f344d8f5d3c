"""The Ray executor: joins a cluster, or starts one on this machine, and lets the driver work."""

import os
import socket
from collections.abc import Callable
from typing import Any

from flowkit.errors import FlowkitError
from flowkit.extract.blame import first_line
from flowkit.extract.driver import Driver
from flowkit.extract.interrupt import Interrupt
from flowkit.extract.job import Job, Outcome, Setup
from flowkit.extract.options import Options

CONNECT_SECONDS = 10.0


def run_on_ray(
    jobs: tuple[Job, ...],
    setup: Setup,
    options: Options,
    begin: Callable[[int], None],
    count: Callable[[Outcome], None],
    interrupt: Interrupt,
    log: Callable[[str], None],
) -> None:
    """Do the jobs on a Ray cluster: the one at ``options.address``, or one for this run."""
    ray = import_ray()
    mine = not ray.is_initialized()
    if mine:
        connect(ray, options, len(jobs))
    interrupt.take()
    try:
        Driver(ray, jobs, setup, options, begin, count, interrupt, log).run()
    finally:
        if mine:
            ray.shutdown()


def import_ray() -> Any:
    """Ray, with what it must know before its import."""
    # `uv run` drivers would make each worker run `uv run` again (ray#50961).
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray prints half a page on stdout for each dead worker; the summary says it in a line.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    import ray

    return ray


def connect(ray: Any, options: Options, jobs: int) -> None:
    """Join the cluster that was asked for, or start one for this machine."""
    address = options.address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        check_address(address)
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            cores = len(os.sched_getaffinity(0))
            ray.init(
                address="local",
                num_cpus=min(options.workers or cores, jobs),
                include_dashboard=False,
                object_store_memory=80 << 20,  # only small records pass through it
                **quiet,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"Ray cluster at {address}" if address else "Ray on this machine"
        raise FlowkitError(
            f"cannot use {where}: {first_line(error)}; `flowkit doctor` says more, "
            "--workers 0 works without Ray"
        ) from error


def check_address(address: str) -> None:
    """FlowkitError where nothing listens; Ray itself would try for minutes, and log each try."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto", "local": Ray's own words
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise FlowkitError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, "
            "or leave out --address and unset RAY_ADDRESS"
        ) from None
