"""What this machine gives a process: cores, memory, open files, shared memory."""

import os
import resource
import shutil
from pathlib import Path

from flowkit.doctor.finding import Finding

GIB = 1 << 30
WORKER_BYTES = 3 * GIB // 2  # what an extraction worker may take, at most
OPEN_FILES = 4096
SHARED_MEMORY = 256 << 20  # flowkit's Ray object store takes 80 MiB of it


def check_cores() -> list[Finding]:
    """Cores that this process may use, against those of the machine."""
    usable, total = usable_cores(), os.cpu_count() or 1
    if usable < total:
        message = f"{usable:g} of {total} CPU cores may be used (affinity or cgroup)"
        return [Finding("cores", "ok", message, f"--workers {max(1, int(usable))}")]
    return [Finding("cores", "ok", f"{total} CPU cores")]


def usable_cores(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> float:
    """CPU cores that this process may use: the lesser of its affinity and its cgroup's quota."""
    allowed = float(len(os.sched_getaffinity(0)))
    for text in cgroup_files("cpu.max", proc, sys):
        quota, _, period = text.partition(" ")
        if quota != "max":
            allowed = min(allowed, int(quota) / int(period))
    for quota, period in zip(
        cgroup_files("cpu.cfs_quota_us", proc, sys, "cpu"),
        cgroup_files("cpu.cfs_period_us", proc, sys, "cpu"),
        strict=False,
    ):
        if int(quota) > 0:
            allowed = min(allowed, int(quota) / int(period))
    return allowed


def usable_memory(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> int:
    """Bytes of memory that this process may use: the lesser of the machine's and its cgroup's."""
    import psutil

    limits = [psutil.virtual_memory().total]
    limits += [int(text) for text in cgroup_files("memory.max", proc, sys) if text != "max"]
    limits += [int(t) for t in cgroup_files("memory.limit_in_bytes", proc, sys, "memory")]
    return min(limits)


def cgroup_files(name: str, proc: Path, sys: Path, controller: str = "") -> list[str]:
    """The contents of ``name`` in this process's cgroup and those above it.

    ``controller`` names one of version 1 (``cpu``, ``memory``); version 2 has none.
    """
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except FileNotFoundError:
        return []  # not Linux, or /proc is not mounted: no cgroup to look at
    contents = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if controller not in names.split(","):
            continue
        top = sys / "fs/cgroup" / controller
        folder = top / path.lstrip("/")
        # In a container the path may be that of the host, and only the top is there.
        for place in (folder, *folder.parents):
            if place.is_relative_to(top) and (place / name).is_file():
                contents.append((place / name).read_text().strip())
    return contents


def check_memory() -> list[Finding]:
    """Memory, against what a worker on each core needs."""
    import psutil

    usable = usable_memory()
    available = min(usable, psutil.virtual_memory().available)
    fit = available // WORKER_BYTES
    message = f"{available / GIB:.1f} of {usable / GIB:.1f} GiB memory available"
    if fit < 1:
        advice = "one worker may need 1.5 GiB: close other programs, or use another machine"
        return [
            Finding("memory", "fail" if available < WORKER_BYTES // 3 else "warn", message, advice)
        ]
    if fit < int(usable_cores()):
        return [Finding("memory", "warn", message, f"use at most --workers {fit}")]
    return [Finding("memory", "ok", message)]


def check_open_files(limits: tuple[int, int] | None = None) -> list[Finding]:
    """The (soft, hard) limit on open files; Ray opens many."""
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    name = "no limit" if soft == unlimited else str(soft)
    if soft == unlimited or soft >= OPEN_FILES:
        return [Finding("open files", "ok", f"limit on open files: {name}")]
    can = hard == unlimited or hard >= OPEN_FILES
    advice = (
        f"ulimit -n {OPEN_FILES}"
        if can
        else f"ask for nofile {OPEN_FILES} in /etc/security/limits.conf (the hard limit is {hard})"
    )
    return [Finding("open files", "warn", f"limit on open files: {name}", advice)]


def check_shared_memory(folder: Path = Path("/dev/shm")) -> list[Finding]:
    """Room in /dev/shm, where Ray and data loaders pass objects."""
    if not folder.is_dir():
        message, advice = f"no {folder}", "Ray will use the disk; in a container: --shm-size=1g"
        return [Finding("shared memory", "warn", message, advice)]
    free = shutil.disk_usage(folder).free
    message = f"{free / GIB:.2f} GiB free in {folder}"
    if free < SHARED_MEMORY:
        advice = "in a container: --shm-size=1g; elsewhere remove stale files there"
        return [Finding("shared memory", "warn", message, advice)]
    return [Finding("shared memory", "ok", message)]
