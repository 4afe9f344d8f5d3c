"""Choose writable folders for the caches and sockets of other libraries.

Numba, matplotlib, torch and Triton keep caches in the user's home folder. In a container that runs
as another user (`docker run --user 2000:2000`) there may be no home folder, or none that can be
written to. The libraries are then given a folder that is writable, and so is every process that
this one starts.

The path of a socket has at most 107 bytes (103 outside Linux), and Ray and Python's multiprocessing
put their sockets below ``$TMPDIR``. If that path is too long, as in scratch folders of clusters,
they are given a folder with a short path.
"""

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""Largest length of the path of a socket, in bytes."""
MULTIPROCESSING_BYTES = len("/listener-12345678")
"""Bytes that multiprocessing appends to the path of its temporary folder, ``pymp-…``."""
CACHE_VARIABLES = {
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TORCH_HOME": "torch",
    "TRITON_HOME": "triton",
}
"""Environment variable of each library, and its folder below the chosen cache folder."""


def set_cache_folders() -> None:
    """Point libraries to a writable cache folder if the home folder is not writable.

    Sets only environment variables that are not set, and none if the home folder is writable; HOME
    is also replaced if it is not an absolute path. Call it in each process before any of the
    libraries is imported.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (Path.home() raises where there is none)
    if is_writable(home):
        return
    folder = make_cache_folder(home)
    if folder is None:
        return  # each library reports this in its own way
    if not home.is_absolute():  # $HOME is relative, or there is no home: Path.home() would raise
        os.environ["HOME"] = str(folder)
    for variable, name in CACHE_VARIABLES.items():
        os.environ.setdefault(variable, str(folder / name))


def is_writable(folder: Path) -> bool:
    """Return whether this user can create files in an existing folder."""
    return folder.is_absolute() and is_folder(folder) and os.access(folder, os.W_OK | os.X_OK)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False if this user cannot see it."""
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises below a locked folder)


def make_cache_folder(home: Path) -> Path | None:
    """Choose a folder for caches, and create it.

    It is ``flowkit`` below ``$XDG_CACHE_HOME`` or ``~/.cache``. If neither is writable, it is a
    folder of this user below the folder for temporary files, which later processes find again: it
    has a fixed name, unless another user has taken that.

    Args:
        home: The user's home folder, which need not exist.

    Returns:
        The folder, or None if nothing is writable.
    """
    import tempfile

    cache_home = os.environ.get("XDG_CACHE_HOME")
    parents = [Path(cache_home)] if cache_home else []
    if is_folder(home):
        parents.append(home / ".cache")
    for parent in parents:
        folder = parent / "flowkit"
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if is_writable(folder):
            return folder
    try:
        folder = Path(tempfile.gettempdir()) / f"flowkit-{os.getuid()}"
        return folder if make_private_folder(folder) else Path(tempfile.mkdtemp(prefix="flowkit-"))
    except OSError:
        return None


def make_private_folder(folder: Path) -> bool:
    """Create a folder that only this user can use, or check an existing one.

    In a folder that all users share, another user may have created it, or a link with its name.

    Args:
        folder: The folder to create.

    Returns:
        Whether the folder belongs to this user alone.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()
        is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        return is_own and not status.st_mode & 0o077
    return True


def make_short_folder(prefix: str, socket_bytes: int, preferred: str | None = None) -> Path:
    """Create a folder for sockets that only this user can use.

    Args:
        prefix: First characters of the folder's name.
        socket_bytes: Bytes that the paths of the sockets add to the folder's path.
        preferred: Folder to create it in if its path is short enough. None means ``$TMPDIR``.

    Returns:
        The folder. The caller removes it.

    Raises:
        OSError: No folder with a path that is short enough can be written to.
    """
    import tempfile

    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:  # nothing is writable, not even the current folder
        temporary = None
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    parents = (preferred, temporary, runtime, "/tmp", "/var/tmp", "/dev/shm")
    max_bytes = SOCKET_PATH_BYTES - socket_bytes - len(f"/{prefix}12345678")
    for parent in parents:
        if parent and os.path.isabs(parent) and len(os.fsencode(parent)) <= max_bytes:  # noqa: PTH117
            try:
                return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            except OSError:
                continue
    tried = ", ".join(dict.fromkeys(parent for parent in parents if parent))
    raise OSError(
        "no folder for sockets: expected one that is writable and has a path of at most "
        f"{max_bytes} bytes, tried {tried}; set TMPDIR to one"
    )


def shorten_socket_paths() -> None:
    """Let multiprocessing put its sockets in a folder whose path is short enough.

    Call it before worker processes are started, such as those of a torch DataLoader; the processes
    that they start inherit it. It does nothing if ``$TMPDIR`` is short enough.

    Raises:
        OSError: No folder with a path that is short enough can be written to.
    """
    import shutil
    import tempfile
    from multiprocessing import process, util

    config = process.current_process()._config  # type: ignore[attr-defined]
    configured = config.get("tempdir")
    current = Path(configured or Path(tempfile.gettempdir()) / "pymp-12345678")
    if len(os.fsencode(current)) + MULTIPROCESSING_BYTES <= SOCKET_PATH_BYTES:
        return
    folder = make_short_folder("pymp-", MULTIPROCESSING_BYTES)
    # multiprocessing.util.get_temp_dir returns this folder, and then does not remove it itself.
    config["tempdir"] = str(folder)
    util.Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-100)
