"""Check the environment of the process: temporary folder, home folder, encoding of file names."""

import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from flowkit.caches import CACHE_VARIABLES, SOCKET_PATH_BYTES
from flowkit.doctor.finding import Finding

RAY_PATH = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""Longest path that Ray appends to TMPDIR for a socket; the last number is a process id."""
MULTIPROCESSING_PATH = "/pymp-xxxxxxxx/listener-xxxxxxxx"
"""Longest path that Python's multiprocessing appends to TMPDIR for a socket."""
TMPDIR_NAMES = ("TMPDIR", "TEMP", "TMP")
"""Variables that name the temporary folder, in the order in which Python reads them."""


def check_temporary_folder(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Check that the temporary folder can be written and its path is short enough for sockets.

    Args:
        environment: Environment variables (default: those of this process).

    Returns:
        One finding.
    """
    name = next((name for name in TMPDIR_NAMES if environment.get(name)), None)
    if name is None:
        return check_default_temporary_folder()
    folder = Path(environment[name])
    problem = find_write_problem(folder)
    if problem is not None:
        message = f"{name}={folder}: {problem}; some programs fail, others use another folder"
        return [Finding("temporary", "warn", message, f"create that folder, or unset {name}")]
    return check_path_length(name, folder)


def check_default_temporary_folder() -> list[Finding]:
    """Check that there is a folder for temporary files if the environment names none."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        advice = "set TMPDIR to a folder that can be written"
        return [Finding("temporary", "fail", f"no folder for temporary files: {error}", advice)]
    return [Finding("temporary", "ok", f"temporary files go to {folder}")]


def check_path_length(name: str, folder: Path) -> list[Finding]:
    """Check that socket paths in a temporary folder are not longer than the system allows.

    Args:
        name: Environment variable that names the folder.
        folder: The folder.

    Returns:
        One finding.
    """
    size = len(os.fsencode(folder))
    limits = {
        "Ray": SOCKET_PATH_BYTES - len(RAY_PATH),
        "Python's multiprocessing": SOCKET_PATH_BYTES - len(MULTIPROCESSING_PATH),
    }
    if not sys.platform.startswith("linux"):
        del limits["Ray"]  # Ray reads TMPDIR only on Linux
    exceeded = [f"{program} (at most {limit})" for program, limit in limits.items() if size > limit]
    if not exceeded:
        return [Finding("temporary", "ok", f"temporary files go to {folder}")]
    message = (
        f"{name}={folder} has {size} bytes, too long for the sockets of {' and '.join(exceeded)}; "
        "flowkit uses a shorter folder instead, but other programs that use these sockets fail"
    )
    return [Finding("temporary", "warn", message, f"set {name} to a shorter path, such as /tmp")]


def check_home(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Check that the home folder can be written, because libraries keep compiled code there.

    Args:
        environment: Environment variables (default: those of this process).

    Returns:
        One finding.
    """
    home = environment.get("HOME")
    if home is None:
        try:
            home = str(Path.home())  # from the user database of the system
        except RuntimeError:
            home = ""
    problem = find_write_problem(Path(home)) if home else ""
    if problem is None:
        return [Finding("home", "ok", f"{home} can be written")]
    message = f"HOME={home}: {problem}" if home else "HOME is not set"
    cache_folder = environment.get("NUMBA_CACHE_DIR")
    if cache_folder:
        problem = find_creation_problem(Path(cache_folder))
        if problem is None:
            return [
                Finding("home", "ok", f"{message}; compiled functions are kept in {cache_folder}")
            ]
        message += f"; NUMBA_CACHE_DIR={cache_folder}: {problem}"
    message += "; libraries keep their caches elsewhere, or compile again in each process"
    *variables, last = CACHE_VARIABLES
    advice = (
        f"set HOME to a folder that can be written, or all of {', '.join(variables)} and {last}"
    )
    return [Finding("home", "warn", message, advice)]


def find_write_problem(folder: Path) -> str | None:
    """Find out why no file can be created in a folder.

    Args:
        folder: Path of the folder.

    Returns:
        The reason; None if files can be created.
    """
    try:
        mode = folder.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as error:  # such as a folder of another user above it, which is locked
        return f"cannot be reached ({error.strerror})"
    if not stat.S_ISDIR(mode):
        return "is a file"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return None


def find_creation_problem(folder: Path) -> str | None:
    """Find out why a folder cannot be used, which is created if it does not exist.

    Args:
        folder: Path of the folder.

    Returns:
        The reason; None if files can be created in it.
    """
    for parent in (folder, *folder.absolute().parents):
        problem = find_write_problem(parent)
        if problem != "does not exist":
            break
    if problem is None or parent == folder:
        return problem
    return f"cannot be created: {parent} {problem}"


def check_encoding(encoding: str | None = None) -> list[Finding]:
    """Report the encoding of file names; any is fine, since ids of videos are always UTF-8.

    Args:
        encoding: Name of the encoding (default: that of this process).

    Returns:
        One finding.
    """
    name = encoding or sys.getfilesystemencoding()
    if name.lower().replace("-", "") == "utf8":
        return [Finding("encoding", "ok", "file names are UTF-8")]
    message = f"the locale encodes file names as {name}; ids of videos are always UTF-8"
    return [Finding("encoding", "ok", message)]
