import json
import os
import resource
import socket
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flowkit.catalog import Dataset, load_catalog
from flowkit.cli import main
from flowkit.doctor import backends, diagnose, machine, packages, storage
from flowkit.doctor.finding import Finding
from flowkit.doctor.shadowing import find_shadows

SHIPPED = Path(__file__).resolve().parents[2] / "datasets.yaml"
GB = 1_000_000_000
NEED = storage.Need("mine", 1000, GB // 10)


@pytest.fixture
def ucf101(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "nowhere"))
    return load_catalog(SHIPPED)["ucf101"]


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_every_finding_that_is_not_ok_says_what_to_do(tmp_path: Path, ucf101: Dataset) -> None:
    findings = diagnose(tmp_path / "store", ucf101)
    topics = {finding.topic for finding in findings}
    assert topics >= {
        "python", "packages", "names", "codecs", "flow", "gpu", "ray", "cores", "memory",
        "open files", "shared memory", "disk", "file system", "clock", "dataset",
    }  # fmt: skip
    assert all(finding.advice for finding in findings if finding.status != "ok")
    here = {finding.topic: finding.status for finding in findings}
    assert here["codecs"] == here["flow"] == here["ray"] == here["python"] == "ok"
    assert here["dataset"] == "fail"


def test_the_command_and_its_exit_code(tmp_path: Path, ucf101: Dataset) -> None:
    arguments = ["doctor", "--store", str(tmp_path), "--catalog", str(SHIPPED)]
    asked = CliRunner().invoke(main, [*arguments, "--dataset", "ucf101", "--json"])
    findings = [Finding(**item) for item in json.loads(asked.output)]
    assert asked.exit_code == 1
    assert [f.topic for f in findings if f.status == "fail"][-1] == "dataset"
    plain = CliRunner().invoke(main, [*arguments, "--dataset", "ucf101"]).output
    assert "→ Download UCF101.rar" in plain
    assert "ucf101: no videos in" in plain


def test_the_exit_code_without_a_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowkit.doctor.diagnose", lambda *_: [Finding("a", "warn", "b", "c")])
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, result.output) == (0, "warn  a  b\n         → c\n")


def test_old_python() -> None:
    assert only(packages.check_python((3, 10, 1))).status == "fail"
    assert only(packages.check_python((3, 11, 0))).status == "ok"


def test_versions_against_ranges_and_pins() -> None:
    ranges = {"numpy": ">=1.26", "ray": ">=2.40", "PyYAML": ""}
    found = {"numpy": "1.20", "ray": None, "PyYAML": "6"}
    findings = packages.compare_versions(ranges, found, {})
    assert [finding.message for finding in findings] == [
        "numpy >=1.26 is needed, 1.20 is installed",
        "ray >=2.40 is needed, none is installed",
    ]
    assert findings[0].advice == "pip install flowkit-video 'numpy>=1.26'"
    found = {"numpy": "2.1", "ray": "2.50", "PyYAML": "6"}
    tested = packages.compare_versions(ranges, found, {"numpy": "2.1", "pyyaml": "6"})
    assert only(tested) == Finding("packages", "ok", "numpy 2.1, ray 2.50, PyYAML 6")
    untested = only(packages.compare_versions(ranges, found, {"numpy": "2.2", "pyyaml": "7"}))
    assert untested.status == "ok"
    assert "numpy 2.1 (tested: 2.2), PyYAML 6 (tested: 7)" in untested.message


def test_the_pins_are_within_the_ranges_and_name_every_package() -> None:
    pins = packages.read_pins()
    declared = read_declared()
    assert declared
    for item in declared:
        assert item.specifier.contains(pins[canonicalize_name(item.name)]), item


def read_declared() -> list[Requirement]:
    """What pyproject.toml declares, the test extra included."""
    project = tomllib.loads(SHIPPED.with_name("pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["test"]
    return [Requirement(line) for line in lines]


def test_an_unknown_distribution() -> None:
    assert only(packages.check_packages("no-such-distribution")).status == "warn"


def test_opencv_packages_over_each_other() -> None:
    finding = only(packages.check_opencv(("opencv-python", "opencv-contrib-python")))
    assert finding.status == "warn"
    assert "opencv-python and opencv-contrib-python" in finding.message
    assert finding.advice.startswith(
        "pip uninstall -y opencv-python opencv-contrib-python, then pip install --force-reinstall "
        "--no-deps 'opencv-contrib-python-headless"
    )
    assert packages.check_opencv(("opencv-contrib-python",)) == []


def test_either_contrib_build_of_opencv_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"opencv-contrib-python": "5.1.0.95"}
    monkeypatch.setattr(packages, "find_version", installed.get)
    ranges = {"opencv-contrib-python-headless": ">=4.10,<6"}
    found: dict[str, str | None] = {"opencv-contrib-python-headless": None}
    packages.choose_opencv(ranges, found)
    assert (ranges, found) == ({"opencv-contrib-python": ">=4.10,<6"}, installed)
    installed["opencv-contrib-python"] = ""
    ranges = {"opencv-contrib-python-headless": ">=4.10,<6"}
    found = {"opencv-contrib-python-headless": None}
    packages.choose_opencv(ranges, found)
    assert found == {"opencv-contrib-python-headless": None}


def package(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    return folder


def test_shadows_by_file_and_by_folder(tmp_path: Path) -> None:
    installed = package(tmp_path / "installed", "flowkit", "models", "train")
    other = package(tmp_path / "other", "models")
    (other / "train.py").touch()
    shadows = find_shadows([str(other), str(installed)], installed)
    assert [(shadow.name, shadow.path) for shadow in shadows] == [
        ("models", other / "models"),
        ("train", other / "train.py"),
    ]
    assert f"finds {other / 'train.py'} instead of {installed / 'train'}" in shadows[1].message
    assert find_shadows([str(installed), str(other)], installed) == []


def test_no_shadow_of_what_is_not_installed_or_is_only_a_data_folder(tmp_path: Path) -> None:
    installed = package(tmp_path / "installed", "flowkit", "models")
    other = package(tmp_path / "other", "train")
    (other / "models/weights").mkdir(parents=True)
    assert find_shadows([str(other), str(installed)], installed) == []


def test_names_beside_a_script_warn(tmp_path: Path) -> None:
    installed = package(tmp_path / "installed", "models")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/models.py").touch()
    path = [str(installed)]
    warning = only(packages.check_names(tmp_path / "here", installed, path))
    assert warning.status == "warn"
    assert str(tmp_path / "here/models.py") in warning.message
    assert only(packages.check_names(installed, installed, path)).status == "ok"
    shadowed = packages.check_names(installed, installed, [str(tmp_path / "here"), *path])
    assert only(shadowed).status == "fail"


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ({"h264": True, "aac": True}, "ok"),
        ({"h264": False, "aac": True}, "fail"),
        ({"h264": True, "aac": False}, "warn"),
    ],
)
def test_codecs(known: dict[str, bool], status: str) -> None:
    assert only(backends.judge_codecs(known)).status == status


def test_flow_backends() -> None:
    finding = only(backends.judge_backends({"numba": None, "opencv-cuda": "not built"}))
    assert finding == Finding("flow", "ok", "numba (not opencv-cuda: not built)")
    assert only(backends.judge_backends({"numba": "no LLVM"})).status == "fail"


def test_a_missing_system_library_is_named() -> None:
    error = ImportError("libGL.so.1: cannot open shared object file")
    assert "libgl1" in backends.not_importable("flow", "opencv", error).advice


def fake_nvidia_smi(folder: Path, script: str) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert "no NVIDIA driver" in only(backends.check_gpu()).message
    fake_nvidia_smi(tmp_path, "echo 'NVIDIA H100, 81559 MiB, 550.54'")
    assert only(backends.check_gpu()).message == "GPU 0: NVIDIA H100, 81559 MiB, 550.54"
    fake_nvidia_smi(tmp_path, "exit 9")
    assert only(backends.check_gpu()).status == "warn"


def test_ray_address() -> None:
    assert len(backends.check_ray("")) == 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert backends.check_ray(address)[-1].status == "ok"
        assert backends.check_ray(f"ray://{address}")[-1].status == "ok"
    closed = backends.check_ray(address)[-1]
    assert closed.status == "fail"
    assert f"no answer from RAY_ADDRESS={address}" in closed.message
    assert "expected RAY_ADDRESS as host:port" in backends.check_ray("head")[-1].message


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
    assert machine.usable_cores(*two) == 0.5
    assert machine.usable_memory(*two) == 1_000_000
    one = cgroup(
        tmp_path / "1",
        "4:cpu,cpuacct:/job\n3:memory:/job\n0::/\n",
        cpu__job__cpu_dot_cfs_quota_us="25000",
        cpu__job__cpu_dot_cfs_period_us="100000",
        memory__memory_dot_limit_in_bytes="2000000",
    )
    assert machine.usable_cores(*one) == 0.25
    assert machine.usable_memory(*one) == 2_000_000
    nothing = tmp_path / "nothing"
    assert machine.usable_cores(nothing, nothing) == len(os.sched_getaffinity(0))


def test_memory_for_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 4.0)
    statuses = {}
    for gib in (0.25, 1, 4, 8):
        monkeypatch.setattr(machine, "usable_memory", lambda gib=gib: int(gib * machine.GIB))
        monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": 1 << 50}))
        statuses[gib] = only(machine.check_memory())
    assert [finding.status for finding in statuses.values()] == ["fail", "warn", "warn", "ok"]
    assert statuses[4].advice == "use at most --workers 2"


def test_open_files() -> None:
    assert only(machine.check_open_files((65536, 65536))).status == "ok"
    assert only(machine.check_open_files((resource.RLIM_INFINITY,) * 2)).status == "ok"
    assert only(machine.check_open_files((256, 65536))).advice == "ulimit -n 4096"
    assert "hard limit is 1024" in only(machine.check_open_files((256, 1024))).advice


def test_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.check_shared_memory(tmp_path / "nowhere")).status == "warn"
    for free, status in ((64 << 20, "warn"), (1 << 30, "ok")):
        usage = type("", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda path, usage=usage: usage)
        assert only(machine.check_shared_memory(tmp_path)).status == status


def test_room_for_the_rest_of_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(free: int) -> Finding:
        usage = type("", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
        return only(storage.check_room(tmp_path / "not/yet", NEED))

    need = 100 * GB
    assert check(need - 1).status == "fail"
    assert check(need + 1).status == "warn"
    assert check(2 * need).status == "ok"
    assert "1,000 videos of mine need about 100.0 GB" in check(need).message


def test_videos_that_are_here_are_what_is_planned_for(tmp_path: Path, ucf101: Dataset) -> None:
    def room() -> str:
        return next(f for f in diagnose(tmp_path / "store", ucf101) if f.topic == "disk").message

    assert "13,320 videos of ucf101 need about" in room()
    folder = tmp_path / "nowhere/ucf101"
    folder.mkdir(parents=True)
    (folder / "classInd.txt").write_text("1 Run\n")
    (folder / "trainlist01.txt").write_text("Run/v_Run_g01_c01.avi 1\nRun/v_Run_g02_c01.avi 1\n")
    (folder / "v_Run_g02_c01.avi").touch()
    assert "1 videos of ucf101 need about" in room()
    dataset = next(f for f in diagnose(tmp_path / "store", ucf101) if f.topic == "dataset")
    assert (dataset.status, dataset.advice[:13]) == ("warn", "1 are missing")


def test_what_a_store_already_holds_is_not_needed_again(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/x.arrow").write_bytes(bytes(1000))
    assert storage.stored_bytes(tmp_path) == 0
    (tmp_path / "store.json").write_text("{}")
    assert storage.stored_bytes(tmp_path) == 1002
    assert "are there" in only(storage.check_room(tmp_path, NEED)).message


def test_file_systems(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:5 / /mnt rw shared:1 - tmpfs tmpfs rw\n"
        "31 30 0:6 / /mnt/my\\040data rw - nfs4 server:/x rw\n"
    )
    kinds = {
        place: storage.filesystem(Path(place), mounts)
        for place in ("/home/x", "/mnt", "/mnt/my data/store", "/mnt/my datas")
    }
    assert kinds == {
        "/home/x": "ext4", "/mnt": "tmpfs", "/mnt/my data/store": "nfs4", "/mnt/my datas": "tmpfs",
    }  # fmt: skip
    statuses = [only(storage.judge_filesystem(kind, tmp_path)).status for kind in kinds.values()]
    assert statuses == ["ok", "warn", "warn", "warn"]
    assert storage.filesystem(tmp_path, tmp_path / "none") == ""


def test_writing_locking_and_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.status for finding in storage.check_writing(tmp_path)] == ["ok", "ok"]
    assert list(tmp_path.iterdir()) == []
    assert only(storage.check_writing(tmp_path / "nowhere")).status == "fail"
    assert only(storage.judge_clock(-30, tmp_path)).message.endswith("-30 s off this machine's")

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    locks = storage.check_writing(tmp_path)[0]
    assert (locks.topic, locks.status) == ("locks", "fail")


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert storage.existing(tmp_path / "a/b") == tmp_path
