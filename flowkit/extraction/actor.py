"""Run workers inside a Ray actor, which checks its node and records crashes in a file."""

import faulthandler
import os
import socket
from pathlib import Path
from typing import Any, NoReturn

from flowkit.errors import DeviceError, FlowkitError, StoreError
from flowkit.extraction.failure_diagnosis import write_device_error
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.tasks import WorkerTask
from flowkit.extraction.worker_setup import WorkerFactory
from flowkit.version import __version__


class Actor:
    """A process with one worker for each lane.

    Lanes work in parallel, and the other methods can be called while :meth:`extract` is running.

    Args:
        setup: The settings from which the workers are made.
        crash_path: File to which the process writes a crash; removed when all lanes are closed.
        token: Name of a file in ``journal`` of the store, to check that the node sees the store.
        sample: Path of one source, to check that the node sees the dataset.
        lanes: Number of lanes.
    """

    def __init__(
        self, setup: WorkerFactory, crash_path: Path, token: str, sample: Path, lanes: int = 1
    ) -> None:
        self._setup, self._crash_path = setup, crash_path
        self._token, self._sample = token, sample
        self._lanes = lanes

    def start(self) -> str:
        """Check this node, make the workers and load the kernels.

        Returns:
            ``host/node version``.

        Raises:
            StoreError: The node does not see the store or the dataset, or cannot write the store.
            FlowkitError: The node cannot run a worker.
        """
        import ray

        host = f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"
        root = self._setup.root
        if not os.path.isfile(root / "journal" / self._token):  # noqa: PTH113 (is_file may raise)
            raise StoreError(
                f"node {host} does not see the store at {root}: put it on a path that every node "
                "mounts, or use --workers on one machine and --shard i/n for several"
            )
        if not os.path.exists(self._sample):  # noqa: PTH110 (Path.exists may raise)
            advice = "expected it on a path that every node mounts"
            raise StoreError(f"node {host} does not see {self._sample}: {advice}")
        try:
            self._setup.check_node()
        except FlowkitError as error:
            raise FlowkitError(f"node {host}: {error}") from error
        try:
            self._crash_file = self._crash_path.open("w", encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"node {host} cannot write {self._crash_path}: {error.strerror}; mount the store "
                "so that your user can write it on every node"
            ) from error
        faulthandler.enable(self._crash_file, all_threads=False)
        gpu_timer = GpuTimer(self._setup.gpu_stages)
        self._workers = [self._setup.make_worker(host, gpu_timer) for _ in range(self._lanes)]
        self._open_lanes = set(range(self._lanes))
        try:
            self._workers[0].warm_up()
        except DeviceError as error:
            self._exit_process(error)
        gpu_timer.pop_times()  # start-up does not count as idle time
        return f"{host} {__version__}"

    def extract(self, task: WorkerTask, lane: int = 0) -> Any:
        """Extract one video in a lane.

        Returns:
            The outcome, or the StoreError that was raised: Ray would change the type of a raised
            error.
        """
        try:
            return self._workers[lane].extract(task)
        except StoreError as error:
            return error
        except DeviceError as error:
            self._exit_process(error)

    def read_heartbeat(self, lane: int = 0) -> tuple[int, float]:
        """Return a counter that grows while the lane makes progress, and the share of its video."""
        worker = self._workers[lane]
        return int(worker.heartbeat), float(worker.share)

    def stop(self, lane: int = 0) -> None:
        """Ask the lane to end the video that it is extracting."""
        self._workers[lane].stop()

    def close(self, lane: int = 0) -> StoreError | None:
        """Commit all complete videos of a lane and close its shards.

        Returns:
            The StoreError that was raised, or None.
        """
        try:
            self._workers[lane].close()
        except StoreError as error:
            return error
        self._open_lanes.discard(lane)
        if not self._open_lanes:
            self._crash_path.unlink(missing_ok=True)
        return None

    def _exit_process(self, error: DeviceError) -> NoReturn:
        """Record the error of a GPU that is no longer usable, and end the process.

        The driver then recovers the complete videos from its shards.
        """
        write_device_error(self._crash_file, error)
        os._exit(1)
