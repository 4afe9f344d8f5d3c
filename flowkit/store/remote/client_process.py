"""Let a process of its own make the requests of a forked process.

obstore runs its requests on threads, which a fork does not copy: a loader worker that was forked
from a process that has used obstore would wait forever. It asks a fresh process instead, through
pipes. That process ends when its standard input does, thus with the worker.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowkit.errors import StoreError
from flowkit.store.remote.objects import ObjectState, Range
from flowkit.store.remote.obstore_client import ObstoreClient


class ProcessClient:
    """The client of a URL in another process.

    Args:
        url: URL of the store.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()  # one request at a time
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flowkit.store.remote.client_process", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C ends the worker, and this process with it
        )

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call a method in the other process, and return or raise what it returned or raised."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._lock:
            try:
                pickle.dump((method, arguments), self._process.stdin, pickle.HIGHEST_PROTOCOL)
                self._process.stdin.flush()
                is_error, value = pickle.load(self._process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError):
                raise StoreError(
                    f"{self.url}: the process that reads for a forked worker has ended (exit code "
                    f"{self._process.poll()}); run the same command again"
                ) from None
        if is_error:
            raise value
        return value

    def read_ranges(self, ranges: Sequence[Range]) -> list[tuple[bytes, ObjectState]]:
        """Read ranges of bytes side by side."""
        answers: list[tuple[bytes, ObjectState]] = self._call("read_ranges", list(ranges))
        return answers

    def read_object(self, name: str) -> tuple[bytes, ObjectState]:
        """Read a whole object, which must be small."""
        answer: tuple[bytes, ObjectState] = self._call("read_object", name)
        return answer

    def find_state(self, name: str) -> ObjectState:
        """Return the state of an object."""
        state: ObjectState = self._call("find_state", name)
        return state

    def list_objects(self) -> dict[str, ObjectState] | None:
        """List all objects by name; None where that is impossible."""
        states: dict[str, ObjectState] | None = self._call("list_objects")
        return states

    def write_object(self, name: str, content: bytes) -> None:
        """Write a small object."""
        self._call("write_object", name, content)

    def create_object(self, name: str, content: bytes) -> bool:
        """Write a small object unless there is one; return whether it was written."""
        is_written: bool = self._call("create_object", name, content)
        return is_written

    def upload(self, path: Path, name: str) -> None:
        """Write the content of a file as an object."""
        self._call("upload", path, name)

    def delete(self, name: str) -> None:
        """Delete an object."""
        self._call("delete", name)


def answer_calls(url: str) -> None:
    """Answer calls from standard input until it ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that nothing that is printed disturbs the answers
    client = None
    while True:
        try:
            method, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            client = client or ObstoreClient(url)
            answer = False, getattr(client, method)(*arguments)
        except Exception as error:  # noqa: BLE001 (the caller raises it)
            answer = True, error
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    answer_calls(sys.argv[1])
