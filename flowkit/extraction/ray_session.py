"""Manage the temporary folder of a Ray cluster that this process starts.

By default, Ray puts its sockets and logs below ``$TMPDIR/ray``, where paths may be too long and
another user's Ray may own the folder, and writes a token to ``~/.ray``, which may not be writable.
A local cluster therefore gets a short, private folder for all of these files, which is removed at
the end.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from flowkit.caches import make_short_folder
from flowkit.errors import FlowkitError

RAY_SOCKET_BYTES = 70
"""Longest path of a socket below the folder in bytes, such as
`/r/session_2026-05-09_12-34-56_123456_1234567/sockets/plasma_store.1234`.
"""
PREFIX = "flowkit-ray-"
LOCK = "lock"
UNLOCKED_SECONDS = 60.0
"""Age in seconds above which an unlocked session is taken to be that of a killed process."""
REMOVE_SECONDS = 5.0
"""How long to try to remove a session's folder."""
TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
HIDDEN_VARIABLES = ("PYTHONOPTIMIZE",)
"""Variables that are unset for Ray, whose nodes do not start without Python's docstrings."""
# When a start failed, the first of these that names an error is reported. Other processes of Ray
# only complain that an agent ended, so the logs of the agents come first.
LOGS = (
    "dashboard_agent.log", "dashboard_agent.err", "runtime_env_agent.log", "runtime_env_agent.err",
    "gcs_server.err", "gcs_server.out", "raylet.err", "raylet.out", "monitor.log", "monitor.err",
)  # fmt: skip
PYTHON_ERROR = re.compile(r"^(?P<text>[\w.]*(Error|Exception|Interrupt)\b.*)")
RAY_ERROR = re.compile(r"^\[[^]]* [ECF] \d+ \d+\] \(\w+\) (?P<text>.*)")
ERROR_CHARACTERS = 240


@contextmanager
def make_session() -> Iterator[Path]:
    """Make the folder of a cluster's session, to be passed to ``ray.init`` as ``_temp_dir``.

    While the context is open, the environment variables are those that Ray's processes need. Shut
    the cluster down before leaving the context.

    Raises:
        FlowkitError: No folder with a path that is short enough can be created.
    """
    try:
        folder = make_short_folder(PREFIX, RAY_SOCKET_BYTES, os.environ.get("RAY_TMPDIR"))
    except OSError as error:
        raise FlowkitError(f"cannot start Ray: {error}; or use --workers 0") from error
    remove_stale_sessions(folder.parent)
    previous = {name: os.environ.get(name) for name in (*TOKEN_VARIABLES, *HIDDEN_VARIABLES)}
    try:
        for name in HIDDEN_VARIABLES:
            os.environ.pop(name, None)
        if not any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
            path = folder / "auth_token"
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32))
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
        forget_token()
        with lock_session(folder):
            # Ray lets everybody open this folder, but its parent is private.
            yield folder / "r"
    finally:
        for name, value in previous.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        forget_token()
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a session's folder, though Ray's last processes may still write their logs into it."""
    end = time.monotonic() + REMOVE_SECONDS
    shutil.rmtree(folder, ignore_errors=True)
    # After that time it is left to `remove_stale_sessions` of a later run.
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lock_session(folder: Path) -> Iterator[None]:
    """Hold the lock of a session's folder; the lock is released if the process is killed."""
    with (folder / LOCK).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_stale_sessions(parent: Path) -> None:
    """Remove the folders of this user's sessions whose processes were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            status = folder.lstat()
            is_old = time.time() - status.st_mtime > UNLOCKED_SECONDS
            if not (is_old and status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode)):
                continue
            with (folder / LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # it is in use, or another run is just removing it


def forget_token() -> None:
    """Let Ray read its token, and whether it uses one, from the environment again."""
    raylet: Any = import_module("ray._raylet")
    if hasattr(raylet, "AuthenticationTokenLoader"):  # older versions of Ray have no tokens
        raylet.AuthenticationTokenLoader.instance().reset_cache()
        raylet.Config.initialize("")


def kill_processes(folder: Path) -> None:
    """Kill the child processes of a failed start, which have its folder on their command line."""
    for child in psutil.Process().children(recursive=True):
        try:
            if any(str(folder) in word for word in child.cmdline()):
                child.kill()
        except psutil.Error:
            continue  # it has ended by itself


def find_start_error(folder: Path) -> str:
    """Find the line in a session's logs that tells why Ray did not start; '' if there is none."""
    for name in LOGS:
        path = folder / "session_latest" / "logs" / name
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in reversed(lines) if name.endswith(".log") else lines:
            error = RAY_ERROR.match(line) or PYTHON_ERROR.match(line)
            if error and error["text"]:
                return f"{error['text'][:ERROR_CHARACTERS]} ({name})"
    return ""
