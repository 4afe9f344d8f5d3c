"""Room, file system, locks and clock of the store's place, and the videos of a dataset."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from flowkit.catalog import Dataset
from flowkit.doctor import diagnose, storage
from flowkit.doctor.finding import Finding

GB = 1_000_000_000
NEED = storage.RequiredSpace("mine", 1000, GB // 10)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_room_for_the_rest_of_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(free: int) -> Finding:
        usage = type("", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
        return only(storage.check_free_space(tmp_path / "not/yet", NEED))

    need = 100 * GB
    assert check(need - 1).status == "fail"
    assert "flowkit extract --subset" in check(need - 1).advice
    assert check(need + 1).status == "warn"
    assert check(2 * need).status == "ok"
    assert "1,000 videos of mine need about 100.0 GB" in check(need).message


def test_videos_that_are_here_are_what_is_planned_for(tmp_path: Path, ucf101: Dataset) -> None:
    def room() -> str:
        return next(
            f for f in diagnose(tmp_path / "store", ucf101, quick=True) if f.topic == "disk"
        ).message

    assert "13,320 videos of ucf101 need about" in room()
    folder = tmp_path / "nowhere/ucf101"
    folder.mkdir(parents=True)
    (folder / "classInd.txt").write_text("1 Run\n")
    (folder / "trainlist01.txt").write_text("Run/v_Run_g01_c01.avi 1\nRun/v_Run_g02_c01.avi 1\n")
    (folder / "v_Run_g02_c01.avi").touch()
    assert "1 videos of ucf101 need about" in room()
    dataset = next(
        f for f in diagnose(tmp_path / "store", ucf101, quick=True) if f.topic == "dataset"
    )
    assert (dataset.status, dataset.advice[:13]) == ("warn", "1 are missing")


def test_what_a_store_already_holds_is_not_needed_again(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/x.arrow").write_bytes(bytes(1000))
    assert storage.count_stored_bytes(tmp_path) == 0
    (tmp_path / "store.json").write_text("{}")
    assert storage.count_stored_bytes(tmp_path) == 1002
    assert "are there" in only(storage.check_free_space(tmp_path, NEED)).message


def test_file_systems(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:5 / /mnt rw shared:1 - tmpfs tmpfs rw\n"
        "31 30 0:6 / /mnt/my\\040data rw - nfs4 server:/x rw\n"
    )
    kinds = {
        place: storage.find_filesystem_type(Path(place), mounts)
        for place in ("/home/x", "/mnt", "/mnt/my data/store", "/mnt/my datas")
    }
    assert kinds == {
        "/home/x": "ext4", "/mnt": "tmpfs", "/mnt/my data/store": "nfs4", "/mnt/my datas": "tmpfs",
    }  # fmt: skip
    statuses = [only(storage.check_filesystem(kind, tmp_path)).status for kind in kinds.values()]
    assert statuses == ["ok", "warn", "warn", "warn"]
    assert storage.find_filesystem_type(tmp_path, tmp_path / "none") == ""


def test_writing_locking_and_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.status for finding in storage.check_writing(tmp_path)] == ["ok", "ok"]
    assert list(tmp_path.iterdir()) == []
    assert only(storage.check_writing(tmp_path / "nowhere")).status == "fail"
    assert only(storage.check_clock(-30, tmp_path)).message.endswith("-30 s off this machine's")

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    locks = storage.check_writing(tmp_path)[0]
    assert (locks.topic, locks.status) == ("locks", "fail")


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert storage.find_existing_folder(tmp_path / "a/b") == tmp_path


def test_a_store_below_a_locked_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may enter any folder, so the refusal is played: where the folder starts with ``locked``.

    Path.is_dir and Path.is_file raise there, and os.path says that nothing exists.
    """
    real_stat, real_file = os.stat, tempfile.NamedTemporaryFile

    def stat(path: object, *args: object, **options: object) -> os.stat_result:
        if "locked/" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real_stat(path, *args, **options)

    def create(dir: Path, **options: object) -> object:
        if dir.name == "locked":
            raise PermissionError(13, "Permission denied", str(dir))
        return real_file(dir=dir, **options)

    (tmp_path / "locked").mkdir()
    monkeypatch.setattr("os.stat", stat)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", create)
    findings = storage.check_storage(tmp_path / "locked/a/store", NEED)
    writing = findings[-1]
    assert (writing.status, writing.advice) == ("fail", "choose another path with --store")
    assert writing.message == f"cannot write to {tmp_path}/locked: Permission denied"


def test_files_that_vanish_while_they_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.json").write_text("{}")
    walk = [(str(tmp_path), [], ["store.json", "gone.arrow"])]
    monkeypatch.setattr("os.walk", lambda path: walk)
    assert storage.count_stored_bytes(tmp_path) == 2


def test_the_time_of_writing_to_disk_is_no_skew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, late = time.time(), [0.0]
    monkeypatch.setattr("time.time", lambda: now + late[0])
    monkeypatch.setattr("os.fsync", lambda descriptor: late.append(late.pop() + 60.0))
    assert [finding.status for finding in storage.check_writing(tmp_path)] == ["ok", "ok"]
