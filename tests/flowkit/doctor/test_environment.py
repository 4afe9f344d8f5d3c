"""TMPDIR, HOME and the encoding of file names."""

import sys
import tempfile
from pathlib import Path

import pytest

from flowkit.caches import CACHE_VARIABLES
from flowkit.doctor import environment
from flowkit.doctor.finding import Finding

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="lengths are those of Linux"
)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def check_temporary(folder: object, name: str = "TMPDIR") -> Finding:
    return only(environment.check_temporary_folder({name: str(folder)}))


@pytest.fixture
def short() -> "object":
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as folder:
        yield Path(folder)


def test_a_temporary_folder_that_can_be_used(short: Path) -> None:
    assert check_temporary(short) == Finding("temporary", "ok", f"temporary files go to {short}")
    assert list(short.iterdir()) == []


def test_a_temporary_folder_that_is_missing_or_a_file(short: Path) -> None:
    missing = check_temporary(short / "no", "TEMP")
    assert (missing.status, missing.advice) == ("warn", "create that folder, or unset TEMP")
    assert f"TEMP={short}/no: does not exist" in missing.message
    (short / "file").touch()
    assert "is a file" in check_temporary(short / "file").message


def test_a_temporary_folder_that_cannot_be_written(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the refusal is played."""

    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    finding = check_temporary(short)
    assert finding.status == "warn"
    assert "cannot be written (Permission denied)" in finding.message


def test_no_temporary_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(environment.check_temporary_folder({})).status == "ok"

    def find_none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", find_none)
    finding = only(environment.check_temporary_folder({}))
    assert (finding.status, finding.advice[:10]) == ("fail", "set TMPDIR")


@linux
def test_a_temporary_folder_that_is_too_long_for_sockets(short: Path) -> None:
    def check(size: int) -> Finding:
        folder = short / ("x" * (size - len(str(short)) - 1))
        folder.mkdir(exist_ok=True)
        assert len(str(folder)) == size
        return check_temporary(folder)

    assert check(39).status == "ok"
    ray = check(40)
    assert ray.status == "warn"
    assert "40 bytes, too long for the sockets of Ray (at most 39);" in ray.message
    assert "multiprocessing" not in check(75).message
    assert "Ray (at most 39) and Python's multiprocessing (at most 75)" in check(76).message
    assert check(76).advice == "set TMPDIR to a shorter path, such as /tmp"


@linux
def test_bytes_are_counted_not_characters(short: Path) -> None:
    folder = short / ("ü" * 14)  # 28 bytes
    folder.mkdir()
    size = len(str(folder).encode())
    assert len(str(folder)) <= 39 < size
    assert f"{size} bytes" in check_temporary(folder).message


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(**variables: str) -> Finding:
        return only(environment.check_home(variables))

    assert check(HOME=str(tmp_path)) == Finding("home", "ok", f"{tmp_path} can be written")
    assert list(tmp_path.iterdir()) == []
    missing = check(HOME=str(tmp_path / "no"))
    assert missing.status == "warn"
    assert missing.message.startswith(f"HOME={tmp_path}/no: does not exist; libraries keep their")
    assert "NUMBA_CACHE_DIR" in missing.advice
    assert check(HOME="").message.startswith("HOME is not set; ")
    elsewhere = check(HOME=str(tmp_path / "no"), NUMBA_CACHE_DIR="/caches")
    assert elsewhere.status == "ok"
    assert "compiled functions are kept in /caches" in elsewhere.message
    assert check().status == "ok"  # the system knows the user's

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert check().message.startswith("HOME is not set; ")


def test_the_folder_of_numbas_cache_is_checked(tmp_path: Path) -> None:
    home, file = str(tmp_path / "no"), tmp_path / "file"
    file.touch()
    below = only(environment.check_home({"HOME": home, "NUMBA_CACHE_DIR": f"{file}/caches"}))
    assert below.status == "warn"
    reason = f"NUMBA_CACHE_DIR={file}/caches: cannot be created: {file} is a file; libraries"
    assert reason in below.message
    itself = only(environment.check_home({"HOME": home, "NUMBA_CACHE_DIR": str(file)}))
    assert f"NUMBA_CACHE_DIR={file}: is a file; libraries" in itself.message


def test_the_advice_names_the_variables_that_flowkit_sets(tmp_path: Path) -> None:
    advice = only(environment.check_home({"HOME": str(tmp_path / "no")})).advice
    assert [name for name in CACHE_VARIABLES if name not in advice] == []


@pytest.mark.parametrize("name", ["TMPDIR", "HOME"])
def test_a_folder_below_a_locked_one_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Root may enter any folder, so the refusal is played."""
    monkeypatch.setattr(Path, "stat", refuse_to_enter)
    folder = {name: str(tmp_path / "x")}
    check = environment.check_home if name == "HOME" else environment.check_temporary_folder
    finding = only(check(folder))
    assert finding.status == "warn"
    assert f"{name}={tmp_path}/x: cannot be reached (Permission denied);" in finding.message


def refuse_to_enter(path: Path, **_: object) -> None:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    finding = only(environment.check_home({"HOME": str(tmp_path)}))
    assert finding.status == "warn"
    assert "cannot be written (Read-only file system)" in finding.message


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8"])
def test_file_names_in_utf8(encoding: str) -> None:
    assert only(environment.check_encoding(encoding)).message == "file names are UTF-8"


def test_file_names_in_another_encoding_are_noted() -> None:
    finding = only(environment.check_encoding("iso8859-1"))
    assert finding.status == "ok"
    assert "file names as iso8859-1" in finding.message
