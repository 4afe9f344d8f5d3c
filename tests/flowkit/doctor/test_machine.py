"""Cores, memory, open files and shared memory."""

import os
import resource
from pathlib import Path

import pytest

from flowkit.doctor import machine
from flowkit.doctor.finding import Finding


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def cgroup(folder: Path, lines: str, **files: str) -> tuple[Path, Path]:
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(lines)
    for name, content in files.items():
        path = folder / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return folder / "proc", folder / "sys"


def test_cores_of_a_cgroup_and_those_above_it(tmp_path: Path) -> None:
    two = cgroup(
        tmp_path / "2",
        "0::/job/step\n",
        cpu_dot_max="max 100000",
        job__cpu_dot_max="50000 100000",
        job__step__cpu_dot_max="max 100000",
        job__memory_dot_max="1000000",
    )
    assert machine.count_usable_cores(*two) == 0.5
    assert machine.measure_usable_memory(*two) == 1_000_000
    one = cgroup(
        tmp_path / "1",
        "4:cpu,cpuacct:/job\n3:memory:/job\n0::/\n",
        cpu__job__cpu_dot_cfs_quota_us="25000",
        cpu__job__cpu_dot_cfs_period_us="100000",
        memory__memory_dot_limit_in_bytes="2000000",
    )
    assert machine.count_usable_cores(*one) == 0.25
    assert machine.measure_usable_memory(*one) == 2_000_000
    nothing = tmp_path / "nothing"
    assert machine.count_usable_cores(nothing, nothing) == len(os.sched_getaffinity(0))


def test_memory_that_the_cgroups_leave(tmp_path: Path) -> None:
    two = cgroup(
        tmp_path / "2",
        "0::/job/step\n",
        job__memory_dot_max="1000000",
        job__memory_dot_current="900000",
        job__memory_dot_stat="anon 1\ninactive_file 50000",
        job__step__memory_dot_max="max",
        job__step__memory_dot_current="900000",
    )
    assert machine.measure_available_memory(*two) == 150_000
    one = cgroup(
        tmp_path / "1",
        "3:memory:/job\n0::/\n",
        memory__memory_dot_limit_in_bytes="2000000",
        memory__memory_dot_usage_in_bytes="2500000",
        memory__memory_dot_stat="total_inactive_file 0",
    )
    assert machine.measure_available_memory(*one) == 0
    assert machine.measure_available_memory(tmp_path, tmp_path) > 1 << 20


def test_memory_for_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "count_usable_cores", lambda: 4.0)
    statuses = {}
    for gib in (0.25, 1, 4, 8):
        monkeypatch.setattr(
            machine, "measure_usable_memory", lambda gib=gib: int(gib * machine.GIB)
        )
        monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": 1 << 50}))
        statuses[gib] = only(machine.check_memory())
    assert [finding.status for finding in statuses.values()] == ["fail", "warn", "warn", "ok"]
    assert statuses[4].advice == "use at most --workers 2"


def test_open_files() -> None:
    assert only(machine.check_open_files((65536, 65536))).status == "ok"
    assert only(machine.check_open_files((resource.RLIM_INFINITY,) * 2)).status == "ok"
    assert only(machine.check_open_files((256, 65536))).advice == "run: ulimit -n 4096"
    assert "hard limit is 1024" in only(machine.check_open_files((256, 1024))).advice


def test_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.check_shared_memory(tmp_path / "nowhere")).status == "warn"
    for free, status in ((64 << 20, "warn"), (1 << 30, "ok")):
        usage = type("", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda path, usage=usage: usage)
        assert only(machine.check_shared_memory(tmp_path)).status == status
