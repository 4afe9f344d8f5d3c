"""Start a Ray worker as `flowkit extract` does, let it import flowkit, and stop it.

This happens in a child process, because the start of Ray can hang and must then be killed, and
because Ray must leave nothing behind in this process. Ray's files go into a temporary folder, or
into another one if its path is too long for sockets.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from flowkit.doctor.steps import WrongResultError, describe_error

LIMIT_SECONDS = 120.0
"""How long to wait for the Ray worker."""
STOP_SECONDS = 30.0
"""How long the child process may take beside that, to start and to stop."""
# The child imports packages from where this process does, as Ray workers do for their driver.
START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from flowkit.doctor.ray_worker import main; main(sys.argv[2], float(sys.argv[3]))"
)


def try_ray_worker(seconds: float = LIMIT_SECONDS, address: str | None = None) -> str:
    """Start Ray (or connect to a cluster), import flowkit in a worker, and disconnect.

    Args:
        seconds: How long to wait for an answer.
        address: Address of the cluster. Default: the environment variable RAY_ADDRESS; without it,
            Ray is started on this machine.

    Returns:
        What was done, in words.

    Raises:
        WrongResultError: If Ray cannot be started or does not answer in time, or if its worker
            cannot import what extraction needs.
    """
    with make_ray_folder() as name:
        folder = Path(name)
        answer_file = folder / "answer.json"
        arguments = [json.dumps(sys.path), str(answer_file), str(seconds)]
        environment = os.environ | {"RAY_TMPDIR": str(folder)}
        if address is not None:
            environment["RAY_ADDRESS"] = address
        with (folder / "output").open("w+") as output:
            # In a session of its own, the child does not get Ctrl-C; this process then stops it.
            child = subprocess.Popen(
                [sys.executable, "-c", START, *arguments], env=environment, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            timeout_note = ""
            try:
                child.wait(seconds + STOP_SECONDS)
            except subprocess.TimeoutExpired:
                timeout_note = f" within {seconds + STOP_SECONDS:.0f} s"
            finally:
                stop_child(child)
            output.seek(0)
            lines = [line.strip() for line in output if line.strip()]
        try:
            answer = json.loads(answer_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            last_line = f"; last line of its output: {lines[-1][:300]}" if lines else ""
            message = f"the process that starts Ray gave no answer{timeout_note}{last_line}"
            raise WrongResultError(message) from None
    if "error" in answer:
        raise WrongResultError(answer["error"])
    return str(answer["done"])


def make_ray_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make a temporary folder for Ray, with a short path unless $RAY_TMPDIR has a long one."""
    preferred = os.environ.get("RAY_TMPDIR") or "/tmp"
    base = preferred if os.access(preferred, os.W_OK | os.X_OK) else None
    # Ray's last processes may still be writing their logs.
    return tempfile.TemporaryDirectory(prefix="fk-", dir=base, ignore_cleanup_errors=True)


def stop_child(child: "subprocess.Popen[bytes]") -> None:
    """Stop the child process and its Ray processes, and kill them if they do not stop in time."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
    # Ray's processes end with the child that started them; killing its group makes sure of that.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def import_extraction() -> dict[str, str]:
    """Import what extraction needs; this runs in a Ray worker.

    Returns:
        ``file`` and ``version`` of the flowkit that was imported.
    """
    import flowkit
    import flowkit.extraction.worker

    assert flowkit.__file__ is not None
    return {"file": flowkit.__file__, "version": flowkit.__version__}


def call_worker(seconds: float) -> str:
    """Connect to Ray, import flowkit in a worker, and check that it is the same flowkit.

    Args:
        seconds: How long to wait for the worker.

    Returns:
        What was done, in words.

    Raises:
        WrongResultError: If no worker answers in time, or it cannot import the same flowkit.
    """
    import flowkit
    from flowkit.extraction.ray_cluster import find_address, open_ray

    address = find_address(None)
    with open_ray(address, 1, 0) as ray:
        # On a busy cluster no core may be free, and none is needed for an import.
        call = ray.remote(num_cpus=0 if address else 1, max_retries=0)(import_extraction)
        try:
            imported = ray.get(call.remote(), timeout=seconds)
        except ray.exceptions.GetTimeoutError:
            raise WrongResultError(f"no Ray worker answered within {seconds:.0f} s") from None
        except ray.exceptions.RayTaskError as error:
            last = str(error).strip().splitlines()[-1]
            raise WrongResultError(f"a Ray worker cannot import flowkit: {last}") from error
    where = f"of the cluster at {address}" if address else "of this machine"
    if imported["version"] != flowkit.__version__ or (
        not address and imported["file"] != flowkit.__file__
    ):
        raise WrongResultError(
            f"a Ray worker {where} imports flowkit {imported['version']} from {imported['file']}, "
            f"expected {flowkit.__version__} from {flowkit.__file__}"
        )
    return f"a Ray {ray.__version__} worker {where} imported flowkit"


def drop_doctor_advice(message: str) -> str:
    """Remove the advice to run `flowkit doctor` from a message that this command itself shows."""
    return re.sub(r"`flowkit doctor[^`]*` says more, ", "", message)


def main(answer_file: str, seconds: float) -> None:
    """Run the child process: call a Ray worker, and write the answer as JSON.

    Args:
        answer_file: Path of the file to write.
        seconds: How long to wait for the worker.
    """
    signal.signal(signal.SIGTERM, lambda signal_number, frame: sys.exit(128 + signal_number))
    try:
        answer = {"done": call_worker(seconds)}
    except Exception as error:  # noqa: BLE001
        answer = {"error": drop_doctor_advice(describe_error(error))}
    Path(answer_file).write_text(json.dumps(answer), encoding="utf-8")
