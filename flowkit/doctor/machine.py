"""Check the resources of this process: CPU cores, memory, open files and shared memory.

Containers and batch schedulers restrict a process by a Linux control group (cgroup), so it may use
less than the machine has.
"""

import os
import resource
import shutil
from contextlib import suppress
from pathlib import Path

from flowkit.doctor.finding import Finding, Status

GIB = 1 << 30
WORKER_BYTES = 3 * GIB // 2
"""Memory that an extraction worker needs at most, in bytes."""
OPEN_FILES = 4096
"""Limit on open files that is enough for Ray with many workers."""
SHARED_MEMORY = 256 << 20
"""Shared memory that is enough, in bytes; the object store of Ray uses 80 MiB of it."""


def check_cores() -> list[Finding]:
    """Check how many of the machine's CPU cores this process may use."""
    usable, total = count_usable_cores(), os.cpu_count() or 1
    if usable < total:
        message = f"{usable:g} of {total} CPU cores may be used (affinity or cgroup)"
        return [Finding("cores", "ok", message, f"use --workers {max(1, int(usable))} at most")]
    return [Finding("cores", "ok", f"{total} CPU cores")]


def count_usable_cores(procfs: Path = Path("/proc"), sysfs: Path = Path("/sys")) -> float:
    """Count the CPU cores that this process may use.

    Args:
        procfs: Mount point of procfs.
        sysfs: Mount point of sysfs.

    Returns:
        The smaller of the number of cores in the CPU affinity and the quota of the cgroup, which
        may be a fraction of a core.
    """
    usable = float(len(os.sched_getaffinity(0)))
    limits = [text.split() for text in read_cgroup_files("cpu.max", procfs, sysfs)]
    quotas = read_cgroup_files("cpu.cfs_quota_us", procfs, sysfs, "cpu")
    periods = read_cgroup_files("cpu.cfs_period_us", procfs, sysfs, "cpu")
    limits += map(list, zip(quotas, periods, strict=False))
    for quota, period in limits:
        if quota != "max" and int(quota) > 0:
            usable = min(usable, int(quota) / int(period))
    return usable


def measure_usable_memory(procfs: Path = Path("/proc"), sysfs: Path = Path("/sys")) -> int:
    """Measure the memory that this process may use.

    Args:
        procfs: Mount point of procfs.
        sysfs: Mount point of sysfs.

    Returns:
        The smaller of the machine's memory and the limit of the cgroup, in bytes.
    """
    import psutil

    limits = [psutil.virtual_memory().total]
    limits += [
        int(text) for text in read_cgroup_files("memory.max", procfs, sysfs) if text != "max"
    ]
    limits += map(int, read_cgroup_files("memory.limit_in_bytes", procfs, sysfs, "memory"))
    return min(limits)


def read_cgroup_files(name: str, procfs: Path, sysfs: Path, controller: str = "") -> list[str]:
    """Read a file in the cgroup of this process and in the cgroups above it.

    Args:
        name: Name of the file.
        procfs: Mount point of procfs.
        sysfs: Mount point of sysfs.
        controller: Controller of cgroup version 1, such as ``cpu`` or ``memory``; "" for version 2.

    Returns:
        The contents of the files that exist.
    """
    folders = list_cgroup_folders(procfs, sysfs, controller)
    return [(f / name).read_text().strip() for f in folders if (f / name).is_file()]


def list_cgroup_folders(procfs: Path, sysfs: Path, controller: str = "") -> list[Path]:
    """List the folder of the cgroup of this process, and those of the cgroups above it.

    Args:
        procfs: Mount point of procfs.
        sysfs: Mount point of sysfs.
        controller: Controller of cgroup version 1; "" for version 2.

    Returns:
        The folders. In a container the path may be that of the host, so that only the last exists.
    """
    try:
        lines = (procfs / "self/cgroup").read_text().splitlines()
    except FileNotFoundError:
        return []  # not Linux, or /proc is not mounted
    found = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            top = sysfs / "fs/cgroup" / controller
            folder = top / path.lstrip("/")
            found += [f for f in (folder, *folder.parents) if f.is_relative_to(top)]
    return found


def measure_available_memory(procfs: Path = Path("/proc"), sysfs: Path = Path("/sys")) -> int:
    """Measure the memory that is free for this process.

    What a cgroup uses is not free, except cached files, which the kernel can drop.

    Args:
        procfs: Mount point of procfs.
        sysfs: Mount point of sysfs.

    Returns:
        The smaller of what the machine and what the limits of the cgroups leave, in bytes.
    """
    import psutil

    available = [psutil.virtual_memory().available]
    for controller, *names, cached in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in list_cgroup_folders(procfs, sysfs, controller):
            with suppress(OSError, ValueError):  # there is no such file, or the limit is "max"
                limit, usage = (int((folder / name).read_text()) for name in names)
                statistics = dict(
                    line.split() for line in (folder / "memory.stat").read_text().splitlines()
                )
                available.append(limit - usage + int(statistics.get(cached, 0)))
    return max(0, min(available))


def check_memory() -> list[Finding]:
    """Check that there is enough memory for a worker on each core."""
    usable = measure_usable_memory()
    available = min(usable, measure_available_memory())
    workers = available // WORKER_BYTES
    message = f"{available / GIB:.1f} of {usable / GIB:.1f} GiB memory available"
    if workers < 1:
        advice = "one worker may need 1.5 GiB: close other programs, or use another machine"
        # Small videos need much less, so a third of it may do.
        status: Status = "fail" if available < WORKER_BYTES // 3 else "warn"
        return [Finding("memory", status, message, advice)]
    if workers < int(count_usable_cores()):
        return [Finding("memory", "warn", message, f"use at most --workers {workers}")]
    return [Finding("memory", "ok", message)]


def check_open_files(limits: tuple[int, int] | None = None) -> list[Finding]:
    """Check the limit on open files, of which Ray opens many.

    Args:
        limits: Soft and hard limit (default: those of this process).

    Returns:
        One finding.
    """
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    message = f"limit on open files: {'no limit' if soft == unlimited else soft}"
    if soft == unlimited or soft >= OPEN_FILES:
        return [Finding("open files", "ok", message)]
    advice = f"run: ulimit -n {OPEN_FILES}"
    if hard != unlimited and hard < OPEN_FILES:
        file = "/etc/security/limits.conf"
        advice = (
            f"an administrator can set nofile to {OPEN_FILES} in {file} (the hard limit is {hard})"
        )
    return [Finding("open files", "warn", message, advice)]


def check_shared_memory(folder: Path = Path("/dev/shm")) -> list[Finding]:
    """Check the free space in /dev/shm, where Ray and data loaders pass objects.

    Args:
        folder: Folder of the shared memory.

    Returns:
        One finding.
    """
    if not folder.is_dir():
        message = f"there is no {folder}, so Ray uses the disk"
        advice = "start the container with --shm-size=1g"
        return [Finding("shared memory", "warn", message, advice)]
    free = shutil.disk_usage(folder).free
    message = f"{free / GIB:.2f} GiB free in {folder}"
    if free < SHARED_MEMORY:
        advice = f"start the container with --shm-size=1g, or remove stale files in {folder}"
        return [Finding("shared memory", "warn", message, advice)]
    return [Finding("shared memory", "ok", message)]
