"""Start one Ray worker as `flowkit extract` does, let it import what it needs, and stop it.

This happens in a process of its own: Ray's start-up can hang, and must then be ended; and Ray
must leave nothing behind in this process. What Ray writes goes into a folder that is removed.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowkit.doctor.steps import WrongResultError, describe_error

LIMIT_SECONDS = 120.0
STOP_SECONDS = 10.0
ADVICE = "--workers 0 works without Ray"
# The child finds the packages where this process does, as Ray's workers find the driver's.
START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from flowkit.doctor.ray_worker import main; main(sys.argv[2], float(sys.argv[3]))"
)


def try_ray_worker(seconds: float = LIMIT_SECONDS) -> str:
    """Start Ray (or join the cluster at RAY_ADDRESS), call a function there, and stop Ray.

    Args:
        seconds: when to give up.

    Returns:
        What was done, in words.

    Raises:
        WrongResultError: Ray could not be started, did not answer in time, or its worker could
            not import what extraction needs.
    """
    with make_ray_folder() as folder:
        answer_file = folder / "answer.json"
        command = [
            sys.executable, "-c", START, json.dumps(sys.path), str(answer_file), str(seconds),
        ]  # fmt: skip
        environment = os.environ | {"RAY_TMPDIR": str(folder)}
        with (folder / "output").open("w+") as output:
            # A session of its own: Ctrl-C reaches this process alone, which then ends the child.
            child = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            late = ""
            try:
                child.wait(seconds + STOP_SECONDS)
            except subprocess.TimeoutExpired:
                late = f" within {seconds + STOP_SECONDS:.0f} s"
            finally:
                stop_child(child)
            output.seek(0)
            lines = [line.strip() for line in output if line.strip()]
        try:
            answer = json.loads(answer_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            said = f"; its last words: {lines[-1][:300]}" if lines else ""
            message = f"the process that starts Ray gave no answer{late}{said}"
            raise WrongResultError(message) from None
    if "error" in answer:
        raise WrongResultError(answer["error"])
    return str(answer["done"])


@contextmanager
def make_ray_folder() -> Iterator[Path]:
    """A folder for what Ray writes, with a name so short that Ray's sockets fit, for the while."""
    wanted = os.environ.get("RAY_TMPDIR") or "/tmp"
    base = wanted if os.access(wanted, os.W_OK | os.X_OK) else None
    # Ray's last processes may still be writing their logs.
    with tempfile.TemporaryDirectory(prefix="fk-", dir=base, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def stop_child(child: "subprocess.Popen[bytes]") -> None:
    """End the child and its Ray processes: in good order if it can, by force otherwise."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
    # Ray's processes die with the child that started them; those of its group for sure.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def import_extraction() -> dict[str, str]:
    """Import what extraction needs, in a Ray worker; which flowkit it found, and where."""
    import flowkit
    import flowkit.extraction.worker

    assert flowkit.__file__ is not None
    return {"file": flowkit.__file__, "version": flowkit.__version__}


def call_worker(seconds: float) -> str:
    """Connect to Ray, call `import_extraction` in a worker and compare; what was done, in words."""
    import flowkit
    from flowkit.extraction.ray_cluster import find_address, open_ray

    address = find_address(None)
    with open_ray(address, 1, 0) as ray:
        # On a busy cluster no core may be free, and none is needed for an import.
        call = ray.remote(num_cpus=0 if address else 1, max_retries=0)(import_extraction)
        try:
            found = ray.get(call.remote(), timeout=seconds)
        except ray.exceptions.GetTimeoutError:
            raise WrongResultError(f"no Ray worker answered within {seconds:.0f} s") from None
        except ray.exceptions.RayTaskError as error:
            last = str(error).strip().splitlines()[-1]
            raise WrongResultError(f"a Ray worker cannot import flowkit: {last}") from error
    where = f"of the cluster at {address}" if address else "of this machine"
    if found["version"] != flowkit.__version__ or (
        not address and found["file"] != flowkit.__file__
    ):
        raise WrongResultError(
            f"a Ray worker {where} imports flowkit {found['version']} from {found['file']}, "
            f"expected {flowkit.__version__} from {flowkit.__file__}"
        )
    return f"a Ray {ray.__version__} worker {where} imported flowkit"


def main(answer_file: str, seconds: float) -> None:
    """What the child does: call a worker, and write the answer as JSON."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        answer = {"done": call_worker(seconds)}
    except Exception as error:  # noqa: BLE001
        # flowkit's own message points to this very command
        answer = {"error": describe_error(error).replace("`flowkit doctor` says more, ", "")}
    Path(answer_file).write_text(json.dumps(answer), encoding="utf-8")
