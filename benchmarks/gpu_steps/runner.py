"""Run the steps one after another, each in a process of its own with a limit of time.

After each step the results and the tables are written. A step that fails, hangs or crashes is
recorded with its reason, and the next one begins.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from gpu_steps.plan import Step
from gpu_steps.recorder import parse_message
from gpu_steps.results import Results, StepResult

TAIL_LINES = 30  # of a step's output, in its log where it fails


def run_steps(
    steps: Sequence[Step],
    make_command: Callable[[Step], list[str]],
    environment: dict[str, str],
    results: Results,
    publish: Callable[[], None],
    log: Callable[[str], None],
) -> dict[str, str]:
    """Run steps in their order.

    Args:
        steps: What to run.
        make_command: Gives the command of a step's process.
        environment: The variables of these processes.
        results: Where results are added.
        publish: Called after each step, to write what there is.
        log: Prints one line.

    Returns:
        The status of each step by its name.
    """
    statuses = {}
    for number, step in enumerate(steps, 1):
        log(f"[{number}/{len(steps)}] {step.name}: {step.title} (at most {step.seconds:.0f} s)")
        result = run_step(step, make_command(step), environment, log)
        statuses[step.name] = result.status
        results.add(step.name, result)
        log(f"    {result.status} after {result.seconds:.1f} s, {result.rows} rows")
        for failure in result.failures:
            log(f"    {failure}")
        publish()
    return statuses


def run_step(
    step: Step, command: list[str], environment: dict[str, str], log: Callable[[str], None]
) -> StepResult:
    """Run one step, and take in its rows as they come."""
    result = StepResult("failed", 0.0)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    begin = time.monotonic()
    process = subprocess.Popen(
        command, env=environment, text=True, errors="replace", start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    reader = threading.Thread(target=read_output, args=(process, result, tail), daemon=True)
    reader.start()
    stopped = False
    try:
        process.wait(timeout=step.seconds)
    except subprocess.TimeoutExpired:
        stopped = True
        result.failures.append(f"stopped after {step.seconds:.0f} s, its limit of time")
    finally:
        end_group(process)
    reader.join(timeout=5)
    result.seconds = time.monotonic() - begin
    if stopped:
        result.status = "stopped"
    elif process.returncode == 0:
        result.status = "done"
    elif result.rows:
        result.status = "partly"
    if process.returncode != 0 and not result.failures:
        result.failures.append(describe_end(process.returncode, tail))
    if result.status != "done":
        for line in tail:
            log(f"    | {line}")
    return result


def read_output(process: "subprocess.Popen[str]", result: StepResult, tail: "deque[str]") -> None:
    """Take in rows and failures that the step sends, and keep its last other lines."""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            try:
                message = parse_message(line)
            except ValueError:  # half a line, of a process that was killed
                message = None
            if message is None:
                if line.strip():
                    tail.append(line.rstrip())
            elif "failure" in message:
                result.failures.append(message["failure"])
            else:
                result.tables.setdefault(message["table"], []).append(message["row"])


def end_group(process: "subprocess.Popen[str]") -> None:
    """Kill what is left of the step: its process, and those that it started."""
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def describe_end(code: int, tail: Sequence[str]) -> str:
    """Say in one line how a process ended that sent no reason."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"its process was killed by {name}"
    return tail[-1] if tail else f"its process ended with {code}"


def make_variables(root: Path, caches: Path, rehearsal: bool) -> dict[str, str]:
    """Return the environment of all steps: this checkout, and caches that they share."""
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "TRITON_CACHE_DIR": str(caches / "triton"),
        "NUMBA_CACHE_DIR": str(caches / "numba"),
    }
    variables.pop("TRITON_INTERPRET", None)
    if rehearsal:
        variables |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        variables.pop("NUMBA_CACHE_DIR")  # kernels that the CPU has compiled before serve as well
        if "NUMBA_CACHE_DIR" in os.environ:
            variables["NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
    return variables


def print_line(text: str) -> None:
    """Print one line at once."""
    print(text, file=sys.stdout, flush=True)
