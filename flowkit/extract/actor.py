"""A worker as a Ray actor: checks its node, keeps a journal of crashes, answers while it works."""

import faulthandler
import socket
from dataclasses import replace
from pathlib import Path

import flowkit
from flowkit.errors import StoreError
from flowkit.extract.job import Job, Outcome, Setup
from flowkit.extract.worker import Worker


class Actor:
    """A Worker in a process of its own. Methods answer while ``extract`` is under way."""

    def __init__(self, setup: Setup, journal: Path, token: str, sample: Path) -> None:
        self._setup, self._journal = setup, journal
        self._token, self._sample = token, sample

    def start(self) -> str:
        """Check this node, load the kernels; returns ``host/node version``."""
        import ray

        host = f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"
        root = self._setup.root
        if not (root / "journal" / self._token).is_file():
            raise StoreError(
                f"node {host} does not see the store at {root}: put it on a path that every node "
                "mounts, or use --workers on one machine and --shard i/n for several"
            )
        if not self._sample.exists():
            raise StoreError(f"node {host} does not see the videos, such as {self._sample}")
        self._trace = self._journal.open("w", encoding="utf-8")
        faulthandler.enable(self._trace, all_threads=False)
        self._worker = Worker(self._setup, host)
        self._worker.warm_up()
        return f"{host} {flowkit.__version__}"

    def extract(self, job: Job) -> Outcome | StoreError:
        """A fault of the store comes back as a value, so that it keeps its type."""
        try:
            return replace(self._worker.extract(job), attempts=job.attempt)
        except StoreError as error:
            return error

    def beat(self) -> int:
        """A number that grows while work goes on."""
        return self._worker.beat

    def stop(self) -> None:
        """Ask a video that is under way to end."""
        self._worker.stop()

    def close(self) -> StoreError | None:
        """Commit what is complete and let go of the shards."""
        try:
            self._worker.close()
        except StoreError as error:
            return error
        self._journal.unlink(missing_ok=True)
        return None
