"""What the environment of a process says: temporary folder, home, encoding of file names."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from flowkit.doctor.finding import Finding

SOCKET_BYTES = 107 if sys.platform.startswith("linux") else 103
"""The longest path of a socket (sun_path of AF_UNIX, less its closing zero)."""
RAY_PATH = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""What Ray adds to TMPDIR for its longest socket; the last number is a process id."""
MULTIPROCESSING_PATH = "/pymp-xxxxxxxx/listener-xxxxxxxx"
TMPDIR_NAMES = ("TMPDIR", "TEMP", "TMP")  # in the order in which Python looks at them
CACHES = "NUMBA_CACHE_DIR, TRITON_CACHE_DIR, MPLCONFIGDIR and TORCH_HOME"


def check_temporary_folder(environment: Mapping[str, str] | None = None) -> list[Finding]:
    """Whether the folder that TMPDIR names can be used, and leaves room for names of sockets."""
    environment = os.environ if environment is None else environment
    name = next((name for name in TMPDIR_NAMES if environment.get(name)), None)
    if name is None:
        return check_default_temporary_folder()
    folder = Path(environment[name])
    problem = find_obstacle(folder)
    if problem is not None:
        message = f"{name}={folder}: {problem}; some programs fail, others use another folder"
        return [Finding("temporary", "warn", message, f"create that folder, or unset {name}")]
    return judge_length(name, folder)


def check_default_temporary_folder() -> list[Finding]:
    """Whether there is any folder for temporary files, where the environment names none."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        advice = "set TMPDIR to a folder that can be written"
        return [Finding("temporary", "fail", f"no folder for temporary files: {error}", advice)]
    return [Finding("temporary", "ok", f"temporary files go to {folder}")]


def judge_length(name: str, folder: Path) -> list[Finding]:
    """Whether the paths of sockets below a temporary folder stay within what the system takes."""
    size = len(os.fsencode(folder))
    room = {
        "Ray": SOCKET_BYTES - len(RAY_PATH),
        "Python's multiprocessing": SOCKET_BYTES - len(MULTIPROCESSING_PATH),
    }
    if not sys.platform.startswith("linux"):
        del room["Ray"]  # it does not look at TMPDIR there
    short = [f"{program} (at most {most})" for program, most in room.items() if size > most]
    if not short:
        return [Finding("temporary", "ok", f"temporary files go to {folder}")]
    message = (
        f"{name}={folder} has {size} bytes, too long for the sockets of {' and '.join(short)}; "
        "flowkit's own processes use a shorter folder, those of other programs fail"
    )
    return [Finding("temporary", "warn", message, f"set {name} to a shorter path, such as /tmp")]


def check_home(environment: Mapping[str, str] | None = None) -> list[Finding]:
    """Whether the home folder can be written, where libraries keep what they compiled."""
    environment = os.environ if environment is None else environment
    home = environment.get("HOME")
    if home is None:
        try:
            home = str(Path.home())  # what the system knows of the user
        except RuntimeError:
            home = ""
    problem = find_obstacle(Path(home)) if home else "is not set"
    if problem is None:
        return [Finding("home", "ok", f"{home} can be written")]
    message = f"HOME={home}: {problem}" if home else "HOME is not set"
    elsewhere = environment.get("NUMBA_CACHE_DIR")
    if elsewhere:
        return [Finding("home", "ok", f"{message}; compiled kernels are kept in {elsewhere}")]
    message += "; libraries keep their caches elsewhere, or compile anew in each process"
    advice = f"set HOME to a folder that can be written, or {CACHES}"
    return [Finding("home", "warn", message, advice)]


def find_obstacle(folder: Path) -> str | None:
    """What keeps files from being made in a folder; None where they can be."""
    if not folder.is_dir():
        return "is a file" if folder.exists() else "does not exist"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return None


def check_encoding(encoding: str | None = None) -> list[Finding]:
    """How names of files become text. Ids are those of UTF-8 in any case."""
    name = encoding or sys.getfilesystemencoding()
    if name.lower().replace("-", "") == "utf8":
        return [Finding("encoding", "ok", "file names are UTF-8")]
    note = (
        f"the locale says that file names are {name}; videos are known by the UTF-8 of their names "
        "all the same"
    )
    return [Finding("encoding", "ok", note)]
