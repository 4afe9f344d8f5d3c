"""What can compute flow and spread work here: flow backends, GPU, Ray."""

import os
import shutil
import socket
import subprocess
from importlib import import_module
from importlib.util import find_spec

from flowkit.doctor.finding import Finding

TIMEOUT_SECONDS = 3.0


def check_flow() -> list[Finding]:
    """Which flow backends run here, and why the others do not."""
    from flowkit.flow import available_backends

    return judge_backends(available_backends())


def judge_backends(reasons: dict[str, str | None]) -> list[Finding]:
    """A fail where no backend runs; ``reasons`` is None for one that does."""
    runs = [name for name, reason in reasons.items() if reason is None]
    lacks = [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
    aside = f" (not {'; '.join(lacks)})" if lacks else ""
    if not runs:
        message = f"no flow backend runs{aside}"
        return [Finding("flow", "fail", message, "pip install --force-reinstall numba")]
    return [Finding("flow", "ok", f"{', '.join(runs)}{aside}")]


def check_gpu() -> list[Finding]:
    """NVIDIA GPUs as the driver sees them, and as torch does where it is installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [Finding("gpu", "ok", "no NVIDIA driver: flow runs on the CPU")]
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        return [Finding("gpu", "warn", f"nvidia-smi failed: {error}", "reinstall the driver")]
    cards = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    findings = [Finding("gpu", "ok", f"GPU {number}: {c}") for number, c in enumerate(cards)]
    return findings + check_torch(bool(cards))


def check_torch(has_gpu: bool) -> list[Finding]:
    """Whether torch, if it is installed, can use the GPU."""
    if find_spec("torch") is None:
        return []
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:  # a library of CUDA that is missing is an OSError
        message = f"torch cannot be imported: {' '.join(str(error).split())}"
        return [Finding("gpu", "fail", message, "pip install --force-reinstall torch")]
    if has_gpu and not torch.cuda.is_available():
        message = f"torch {torch.__version__} cannot use the GPU"
        return [Finding("gpu", "warn", message, "install the CUDA build of torch, or a new driver")]
    return [Finding("gpu", "ok", f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}")]


def check_ray(address: str | None = None) -> list[Finding]:
    """Whether Ray imports, and whether the cluster at ``address`` (RAY_ADDRESS) answers."""
    from flowkit.extraction.ray_cluster import import_ray

    ray = import_ray()
    findings = [Finding("ray", "ok", f"Ray {ray.__version__}")]
    address = os.environ.get("RAY_ADDRESS", "") if address is None else address
    if address in ("", "local"):
        return findings
    if address == "auto":
        return [
            *findings,
            Finding("ray", "ok", "RAY_ADDRESS=auto: joins a cluster of this machine"),
        ]
    host, _, port = address.removeprefix("ray://").rpartition(":")
    advice = "start it (ray start --head), or unset RAY_ADDRESS to work on this machine alone"
    if not host or not port.isdigit():
        message = f"expected RAY_ADDRESS as host:port, got {address!r}"
        return [*findings, Finding("ray", "fail", message, advice)]
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS).close()
    except OSError as error:
        message = f"no answer from RAY_ADDRESS={address}: {error}"
        return [*findings, Finding("ray", "fail", message, advice)]
    return [*findings, Finding("ray", "ok", f"the cluster at {address} answers")]
