"""Folders for caches and sockets, where the usual ones cannot be used."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flowkit import caches

HOMELESS = "/proc/1/no-such-home"  # not even root can make it


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Of none of the libraries, and with a folder for temporary files of this test."""
    for variable in (*caches.CACHE_VARIABLES, "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def chosen():
    return {name: os.environ[name] for name in caches.CACHE_VARIABLES if name in os.environ}


def test_a_writable_home_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    caches.set_cache_folders()
    assert chosen() == {}
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_each_library_gets_a_folder_of_this_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", HOMELESS)
    monkeypatch.setenv("TORCH_HOME", "/given")
    caches.set_cache_folders()
    folder = tmp_path / f"flowkit-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert chosen() == {
        name: "/given" if name == "TORCH_HOME" else str(folder / below)
        for name, below in caches.CACHE_VARIABLES.items()
    }
    assert os.environ["HOME"] == HOMELESS  # it may say more than where caches are
    assert caches.make_cache_folder(tmp_path / "none") == folder  # the same for the next process


def test_a_home_that_cannot_be_looked_at_is_no_home(tmp_path, monkeypatch):
    """Path.is_dir raises for a name that is too long, as it does below a locked folder."""
    for variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "/" + "x" * 300)
    caches.set_cache_folders()
    folder = tmp_path / f"flowkit-{os.getuid()}"
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder / "numba")


def test_a_cache_folder_that_is_named_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", HOMELESS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    caches.set_cache_folders()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "c" / "flowkit" / "numba")


@pytest.mark.parametrize("kind", ["open", "link"])
def test_a_folder_that_others_could_have_made_is_not_used(tmp_path, kind):
    usual = tmp_path / f"flowkit-{os.getuid()}"
    if kind == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        usual.symlink_to(tmp_path / "theirs")
    else:
        usual.mkdir()
        usual.chmod(0o777)
    folder = caches.make_cache_folder(tmp_path / "none")
    assert folder != usual and folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_sockets_get_a_short_folder(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 150)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = caches.make_short_folder("flowkit-", 70, preferred=str(long))
    try:
        assert len(os.fsencode(folder)) + 70 <= caches.SOCKET_PATH_BYTES
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        folder.rmdir()
    with pytest.raises(OSError, match=r"at most -\d+ bytes, tried .*; set TMPDIR to one"):
        caches.make_short_folder("flowkit-", 107)


# A queue of tensors passes them through a socket of multiprocessing's.
QUEUE = """
import multiprocessing, sys
from multiprocessing.util import get_temp_dir
import torch
from flowkit.caches import shorten_socket_paths

def work(queue, received):
    queue.put(torch.ones(3))
    received.wait(60)

if __name__ == "__main__":
    if sys.argv[1] == "short":
        shorten_socket_paths()
    context = multiprocessing.get_context("forkserver")
    queue = torch.multiprocessing.get_context("forkserver").Queue()
    received = context.Event()
    process = context.Process(target=work, args=(queue, received))
    process.start()
    print(queue.get(timeout=60).sum().item(), get_temp_dir())
    received.set()
    process.join()
"""


@pytest.mark.parametrize(("how", "works"), [("short", True), ("long", False)])
def test_processes_and_their_tensors_need_it(tmp_path, how, works):
    scratch = tmp_path / ("x" * 150)
    scratch.mkdir()
    (tmp_path / "queue_of_tensors.py").write_text(QUEUE)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "queue_of_tensors.py"), how],
        env=os.environ | {"TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode == 0) is works, done.stderr
    if works:
        total, folder = done.stdout.split()
        assert total == "3.0"
        assert not Path(folder).exists()  # it is gone with the process that made it
    else:  # so that this file can go when Python no longer needs it
        assert "AF_UNIX path too long" in done.stderr
