"""A Ray worker: that it runs our code, and what is said where it cannot."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowkit.doctor import ray_worker
from flowkit.doctor.steps import WrongResultError
from flowkit.errors import FlowkitError
from flowkit.extraction.ray_cluster import connect_to_cluster


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``child(code)``: what the child runs in place of Ray; ``answer`` is the file's path."""

    def run(code: str) -> None:
        monkeypatch.setattr(ray_worker, "START", f"import sys; answer = sys.argv[2]\n{code}")

    return run


def test_a_child_that_dies_says_its_last_words(child: Any) -> None:
    child("print('starting'); sys.exit('raylet: no space left on device')")
    with pytest.raises(
        WrongResultError, match="gave no answer; last line of its output: raylet: no space"
    ):
        ray_worker.try_ray_worker(60)


def test_a_child_that_hangs_is_ended(
    child: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where it does not listen, and has started processes of its own."""
    monkeypatch.setattr(ray_worker, "STOP_SECONDS", 1.0)
    pids = tmp_path / "pids"
    child(
        "import os, signal, subprocess, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "other = subprocess.Popen(['sleep', '300'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{other.pid}}')\n"
        "time.sleep(300)"
    )
    with pytest.raises(WrongResultError, match="gave no answer within 6 s"):
        ray_worker.try_ray_worker(5)
    end = time.monotonic() + 60
    while any(is_running(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < end
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_an_answer_counts_though_the_stop_hangs(
    child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_worker, "STOP_SECONDS", 0.5)
    child("import time; open(answer, 'w').write('{\"done\": \"x\"}'); time.sleep(300)")
    assert ray_worker.try_ray_worker(5) == "x"


def test_its_folder_is_removed_and_named_to_ray(child: Any, tmp_path: Path) -> None:
    child(
        "import os, json; folder = os.environ['RAY_TMPDIR']; open(folder + '/left', 'w').close()\n"
        "open(answer, 'w').write(json.dumps({'done': folder}))"
    )
    folder = Path(ray_worker.try_ray_worker(60))
    assert folder.name.startswith("fk-")
    assert not folder.exists()


def test_an_error_of_the_child_is_the_reason(child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    child(
        "import flowkit.doctor.ray_worker as r\n"
        "def fail(seconds): raise OSError(28, 'No space left on device')\n"
        "r.call_worker = fail; r.main(answer, 1.0)"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    with pytest.raises(WrongResultError, match=r"unexpected OSError: .*No space left"):
        ray_worker.try_ray_worker(60)


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(WrongResultError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        ray_worker.try_ray_worker(60)


def test_doctor_does_not_advise_to_run_doctor() -> None:
    def fail(**options: Any) -> None:
        raise ConnectionError("refused")

    with pytest.raises(FlowkitError) as caught:
        connect_to_cluster(SimpleNamespace(init=fail), "host:6379", {})
    message = ray_worker.drop_doctor_advice(str(caught.value))
    assert "doctor" in str(caught.value)
    assert "doctor" not in message
    assert "refused; --workers 0 works without Ray" in message


def test_a_worker_that_finds_another_flowkit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself; the call is played, since the true one is in test_command.py."""
    from contextlib import contextmanager
    from types import SimpleNamespace

    from flowkit.extraction.ray_cluster import import_ray

    ray = import_ray()
    found = {"file": "/home/me/flowkit/__init__.py", "version": "0"}

    @contextmanager
    def open_ray(*_: object) -> Any:
        yield SimpleNamespace(
            remote=lambda **_: lambda function: SimpleNamespace(remote=lambda: function),
            get=lambda call, timeout: found,
            exceptions=ray.exceptions,
        )

    monkeypatch.setattr("flowkit.extraction.ray_cluster.open_ray", open_ray)
    with pytest.raises(WrongResultError, match="imports flowkit 0 from /home/me/flowkit"):
        ray_worker.call_worker(1)


def test_stopping_a_child_that_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    child.wait()
    ray_worker.stop_child(child)
    assert child.returncode == 0
    sleeper = subprocess.Popen(["sleep", "300"], start_new_session=True)
    ray_worker.stop_child(sleeper)
    assert sleeper.returncode == -signal.SIGTERM
