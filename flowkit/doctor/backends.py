"""Check what can compute flow and distribute work on this machine: flow backends, GPU and Ray."""

import os
import shutil
import socket
import subprocess
from importlib import import_module
from importlib.util import find_spec

from flowkit.doctor.finding import Finding

TIMEOUT_SECONDS = 3.0
"""How long to wait for an answer of the Ray cluster."""


def check_flow() -> list[Finding]:
    """Check which flow backends and learned methods run here, and why the others do not."""
    from flowkit.flow import available_backends

    return [*report_backends(available_backends()), report_learned_methods()]


def report_backends(reasons: dict[str, str | None]) -> list[Finding]:
    """Report which flow backends run.

    Args:
        reasons: Why each backend cannot run, by name; None for a backend that runs.

    Returns:
        One finding, which is ``fail`` if no backend runs.
    """
    usable = [name for name, reason in reasons.items() if reason is None]
    unusable = [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
    others = f" (not {'; '.join(unusable)})" if unusable else ""
    if not usable:
        message = f"no flow backend runs{others}"
        return [Finding("flow", "fail", message, "pip install --force-reinstall numba")]
    return [Finding("flow", "ok", f"{', '.join(usable)}{others}")]


def report_learned_methods() -> Finding:
    """Report which learned methods of optical flow run, and which have their weights here.

    Returns:
        A finding, which is always ``ok``: no one needs a learned method.
    """
    from flowkit.errors import FlowError
    from flowkit.flow.learned.registry import METHODS
    from flowkit.flow.learned.weights import find_weights_file

    names_by_state: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        state = method.find_obstacle()
        if state is None:
            try:
                state = f"weights at {find_weights_file(name, None)}"
            except FlowError:
                state = "weights not on this machine: --flow-weights FILE"
        names_by_state.setdefault(state, []).append(name)
    states = (f"{', '.join(names)} ({state})" for state, names in names_by_state.items())
    return Finding("flow", "ok", f"learned methods: {'; '.join(states)}")


def check_gpu() -> list[Finding]:
    """Check which NVIDIA GPUs the driver reports, and whether torch can use them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [Finding("gpu", "ok", "no NVIDIA driver: flow runs on the CPU")]
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        return [Finding("gpu", "warn", f"nvidia-smi failed: {error}", "reinstall the driver")]
    gpus = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    findings = [Finding("gpu", "ok", f"GPU {index}: {gpu}") for index, gpu in enumerate(gpus)]
    return findings + check_torch(bool(gpus))


def check_torch(has_gpu: bool) -> list[Finding]:
    """Check that torch, if it is installed, can be imported and can use the GPU.

    Args:
        has_gpu: Whether the driver reports a GPU.

    Returns:
        One finding; none if torch is not installed.
    """
    if find_spec("torch") is None:
        return []
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:  # a missing CUDA library raises OSError
        message = f"torch cannot be imported: {' '.join(str(error).split())}"
        return [Finding("gpu", "fail", message, "pip install --force-reinstall torch")]
    if has_gpu and not torch.cuda.is_available():
        message = f"torch {torch.__version__} cannot use the GPU"
        return [Finding("gpu", "warn", message, "install the CUDA build of torch, or a new driver")]
    return [Finding("gpu", "ok", f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}")]


def check_ray(address: str | None = None) -> list[Finding]:
    """Check that Ray can be imported, and that its cluster answers and takes this user's token.

    Args:
        address: Address of the cluster; "" or ``local`` for this machine alone. Default: the
            environment variable RAY_ADDRESS.

    Returns:
        The findings.
    """
    from flowkit.extraction.ray_cluster import import_ray

    ray = import_ray()
    findings = [Finding("ray", "ok", f"Ray {ray.__version__}")]
    origin = "RAY_ADDRESS" if address is None else "--address"
    address = os.environ.get("RAY_ADDRESS", "") if address is None else address
    if address in ("", "local"):
        return findings
    if address == "auto":
        message = f"{origin}=auto: flowkit uses the Ray cluster that runs on this machine"
        return [*findings, Finding("ray", "ok", message)]
    host, _, port = address.removeprefix("ray://").rpartition(":")
    advice = "start it (ray start --head), or work on this machine alone without " + origin
    if not host or not port.isdigit():
        message = f"expected {origin} as host:port, got {address!r}"
        return [*findings, Finding("ray", "fail", message, advice)]
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS).close()
    except OSError as error:
        message = f"no answer from {origin}={address}: {error}"
        return [*findings, Finding("ray", "fail", message, advice)]
    return [*findings, check_token(address)]


def check_token(address: str) -> Finding:
    """Check that the cluster at an address takes the token of this user, if it asks for one.

    Args:
        address: Address of a cluster that answers.

    Returns:
        The finding.
    """
    from flowkit.extraction.ray_token import find_token_problem

    # The server of ray:// addresses does not answer such questions.
    problem = None if address.startswith("ray://") else find_token_problem(address)
    if problem is not None:
        return Finding("ray", "fail", *problem)
    return Finding("ray", "ok", f"the cluster at {address} answers")
