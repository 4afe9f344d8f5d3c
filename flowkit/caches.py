"""Folders that libraries need outside of a store: for their caches, and for their sockets.

Numba, matplotlib, torch and Triton keep caches in the user's home folder. In a container that
runs as another user (`docker run --user 2000:2000`) there may be none, or none that can be
written to: then they are given a folder that can, and so is every process that this one starts.

A socket's path has at most 107 bytes, and Ray and Python's multiprocessing put theirs below
``$TMPDIR``. Where that is too long (scratch folders of clusters often are), they are given a
short folder elsewhere.
"""

import os
import stat
import sys
from pathlib import Path

SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
MULTIPROCESSING_BYTES = len("/listener-12345678")
# Where each library keeps its cache, as a folder below the one that is chosen for all.
CACHE_VARIABLES = {
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TORCH_HOME": "torch",
    "TRITON_HOME": "triton",
}


def set_cache_folders() -> None:
    """Point libraries to a writable cache folder where the home folder is not one.

    Sets only environment variables that are not set, and none where the home folder is writable.
    To be called before any of the libraries is imported, in each process.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (Path.home() raises where there is none)
    if is_writable(home):
        return
    folder = find_cache_folder(home)
    if folder is None:
        return  # each library has words of its own for this
    if not home.is_absolute():  # neither $HOME nor an entry in passwd: Path.home() would raise
        os.environ["HOME"] = str(folder)
    for variable, name in CACHE_VARIABLES.items():
        os.environ.setdefault(variable, str(folder / name))


def is_writable(folder: Path) -> bool:
    """Whether this user can make files in an existing folder."""
    return folder.is_absolute() and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def find_cache_folder(home: Path) -> Path | None:
    """Find a folder for caches, and make it.

    It is ``flowkit`` below ``$XDG_CACHE_HOME`` or ``~/.cache``, or else a folder of this user's
    below the folder for temporary files, which stays, so that kernels are compiled once.

    Returns:
        The folder, or None where nothing can be written to.
    """
    import tempfile

    places = [home / ".cache"] if home.is_dir() else []
    if os.environ.get("XDG_CACHE_HOME"):
        places.insert(0, Path(os.environ["XDG_CACHE_HOME"]))
    for place in places:
        folder = place / "flowkit"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if is_writable(folder):
            return folder
    try:
        folder = Path(tempfile.gettempdir()) / f"flowkit-{os.getuid()}"
        return folder if make_private(folder) else Path(tempfile.mkdtemp(prefix="flowkit-"))
    except OSError:
        return None


def make_private(folder: Path) -> bool:
    """Make a folder that only this user can use; whether it is one.

    In a folder that all users share, another one may have made it, or a link in its place.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        return own and not found.st_mode & 0o077
    return True


def make_short_folder(prefix: str, below: int, first: str | None = None) -> Path:
    """Make a folder for sockets, which only this user can use.

    Args:
        prefix: How its name starts.
        below: Bytes that the paths of sockets in it have after its own.
        first: A folder to make it in if its path is short enough; default: ``$TMPDIR``.

    Returns:
        The folder. Whoever asked for it removes it.

    Raises:
        OSError: No folder that is short enough can be written to.
    """
    import tempfile

    try:
        usual = tempfile.gettempdir()
    except FileNotFoundError:  # nothing is writable, not even the current folder
        usual = None
    places = (first, usual, os.environ.get("XDG_RUNTIME_DIR"), "/tmp", "/var/tmp", "/dev/shm")
    room = SOCKET_PATH_BYTES - below - len(f"/{prefix}12345678")
    for place in places:
        if place and os.path.isabs(place) and len(os.fsencode(place)) <= room:  # noqa: PTH117
            try:
                return Path(tempfile.mkdtemp(prefix=prefix, dir=place))
            except OSError:
                continue
    tried = ", ".join(dict.fromkeys(place for place in places if place))
    raise OSError(
        f"no folder for sockets: expected one that is writable and has a path of at most {room} "
        f"bytes, tried {tried}; set TMPDIR to one"
    )


def shorten_socket_paths() -> None:
    """Let multiprocessing put its sockets where their paths are not too long.

    To be called before worker processes are started, such as those of a torch DataLoader; what
    they start inherits it. Does nothing where ``$TMPDIR`` is short enough.
    """
    import shutil
    import tempfile
    from multiprocessing import process, util

    config = process.current_process()._config  # type: ignore[attr-defined]
    known = config.get("tempdir")
    usual = Path(known or Path(tempfile.gettempdir()) / "pymp-12345678")
    if len(os.fsencode(usual)) + MULTIPROCESSING_BYTES <= SOCKET_PATH_BYTES:
        return
    folder = make_short_folder("pymp-", MULTIPROCESSING_BYTES)
    # Where multiprocessing.util.get_temp_dir looks; removed as it removes its own.
    config["tempdir"] = str(folder)
    util.Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-100)
