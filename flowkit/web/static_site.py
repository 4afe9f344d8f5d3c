"""Write a folder that shows a store without a server: index.html, its data and its pictures."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from flowkit.errors import UsageError
from flowkit.path_text import printable_path
from flowkit.store.format.atomic import convert_disk_errors
from flowkit.store.label_columns import Rows
from flowkit.store.status import list_shard_files
from flowkit.streams import STREAMS
from flowkit.version import __version__
from flowkit.web.app import Plugin, WebContext, make_app
from flowkit.web.open_store import OpenStore
from flowkit.web.pages import STATIC
from flowkit.web.server import load_plugins
from flowkit.web.static_data import StaticData
from flowkit.web.static_page import read_files, render_static_page

MARK = "flowkit_static.json"
"""File that marks a folder of `flowkit view --static`, and lists the other files written there."""
MAX_VIDEOS = 500
"""Largest number of videos that are written without ``--limit``."""
MAX_BYTES = 2_000_000_000
"""Largest number of bytes that are written without ``--limit``."""
BASE64 = 4 / 3
"""Number of bytes in a script for each byte of its frames, which are base64 text."""


class Folder:
    """A folder that is being written: its files replace the target at the end, all at once.

    Args:
        target: The folder.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.bytes = 0
        self.files: list[str] = []
        self._part = target.with_name(f".{uuid.uuid4().hex}.part")

    def write(self, path: str, content: bytes) -> None:
        """Write a file below the folder.

        Raises:
            StoreError: It cannot be written, such as on a full disk.
        """
        file = self._part / path
        with convert_disk_errors(self.target / path):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self.bytes += len(content)
        self.files.append(path)

    def finish(self) -> None:
        """Put the files in place of the target."""
        old = self._part.with_suffix(".old")
        with convert_disk_errors(self.target):
            if self.target.exists():
                self.target.rename(old)
            try:
                self._part.rename(self.target)
            except OSError:
                if old.exists():
                    old.rename(self.target)
                raise
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Delete what was written, unless it is finished."""
        shutil.rmtree(self._part, ignore_errors=True)


def write_static_site(
    root: Path,
    runs: Sequence[Path],
    out: Path,
    limit: int | None,
    log: Callable[[str], None],
) -> Path:
    """Write the folder.

    Args:
        root: Folder of the store.
        runs: Folders of runs to show with it.
        out: The folder. One that was written before, and to which nothing was added, is replaced;
            any other must be empty or not exist.
        limit: Largest number of videos, evenly spaced over all in the order of their ids; None for
            all, if they are not more than `MAX_VIDEOS` and about `MAX_BYTES`.
        log: Called with each line to print.

    Returns:
        The document to open.

    Raises:
        FormatError: There is no store at ``root``.
        UsageError: The target is not to be replaced, there are too many videos, or a run does not
            belong to the store.
        StoreError: A file cannot be written.
        FlowkitError: The package that shows the runs cannot be imported.
    """
    target = Path(os.path.expanduser(out)).resolve()  # noqa: PTH111 (it never raises)
    store = OpenStore(root)
    check_target(target, root.resolve())
    context = WebContext(store, tuple(runs), is_static=True)
    plugins = load_plugins(context)
    folder = Folder(target)
    try:
        rows = choose_rows(store, limit)
        app = make_app(context, plugins)
        StaticData(store=store, rows=rows, plugins=plugins, app=app).write(folder.write)
        write_page(store, len(rows), plugins, folder)
        folder.finish()
    finally:
        folder.discard()
        for plugin in plugins:
            plugin.close()
    page = target / "index.html"
    log(
        f"{printable_path(page)}  ({len(rows):,} of {len(store.get().store):,} videos, "
        f"{folder.bytes / 1e6:,.1f} MB)"
    )
    return page


def check_target(target: Path, root: Path) -> None:
    """Check that a folder may be written or replaced.

    Raises:
        UsageError: It is in the store or around it, is a file, or has files that
            `write_static_site` did not write.
    """
    shown = printable_path(target)
    if target == root or root in target.parents:
        raise UsageError(f"--static {shown} is in the store, where nothing is written")
    if target.parent == target or not target.name:
        raise UsageError(f"--static {shown} is no folder that can be made")
    if target in root.parents:
        raise UsageError(f"--static {shown} has the store in it; choose a new folder")
    with convert_disk_errors(target):
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            return
        if not target.is_dir():
            raise UsageError(f"--static {shown} is a file; choose a folder")
        if not any(target.iterdir()):
            return
        written = read_written_files(target)
        if written is None:
            raise UsageError(
                f"--static {shown} holds other files, and is not replaced; choose a new folder"
            )
        if written == {MARK}:
            raise UsageError(
                f"--static {shown} was written by an older version, which did not list its files; "
                "remove it, or choose a new folder"
            )
        if (added := find_added_file(target, written)) is not None:
            raise UsageError(
                f"--static {shown} holds {printable_path(added)}, which is not among the files "
                f"that flowkit wrote there (listed in {MARK}), and is not replaced; move that "
                "away, or choose a new folder"
            )


def read_written_files(folder: Path) -> set[str] | None:
    """Read which files `write_static_site` wrote in a folder.

    Returns:
        Their paths below the folder; None if it did not write the folder.
    """
    with suppress(OSError, ValueError, TypeError):
        mark = json.loads((folder / MARK).read_text())
        if isinstance(mark, dict) and "flowkit_static" in mark:
            return {MARK, *map(str, mark.get("files", ()))}
    return None


def find_added_file(folder: Path, written: Collection[str]) -> str | None:
    """Find a file or link in a folder that is not among the written files.

    Args:
        folder: The folder.
        written: Paths of the written files below the folder.

    Returns:
        The path of the first one below the folder; None if there is none.

    Raises:
        OSError: A folder in it cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=fail):
        place = Path(parent)
        links = [name for name in folders if (place / name).is_symlink()]
        for name in sorted([*files, *links]):
            path = (place / name).relative_to(folder).as_posix()
            if path not in written:
                return path
    return None


def choose_rows(store: OpenStore, limit: int | None) -> Rows:
    """Choose the videos.

    Args:
        store: The store.
        limit: Number of videos at most; None for all.

    Raises:
        UsageError: There is no limit, and the videos are too many.
    """
    count = len(store.get().store)
    if limit is not None:
        kept = min(count, limit)
        return np.arange(kept, dtype=np.int64) * count // max(kept, 1)
    folders = {STREAMS[stream].folder for stream in ("rgb", "flow")}
    sizes = list_shard_files(store.root).sizes
    bytes = BASE64 * sum(sum(sizes.get(folder, ())) for folder in folders)
    if count > MAX_VIDEOS or bytes > MAX_BYTES:
        raise UsageError(
            f"{printable_path(store.root)} has {count:,} videos, about {bytes / 1e9:,.1f} GB as a "
            f"folder; more than {MAX_VIDEOS} videos or {MAX_BYTES / 1e9:.0f} GB are written only "
            "with --limit N"
        )
    return np.arange(count, dtype=np.int64)


def write_page(store: OpenStore, count: int, plugins: Sequence[Plugin], folder: Folder) -> None:
    """Write the document, its styles and the mark.

    Args:
        store: The store.
        count: Number of videos that the folder has.
        plugins: What other packages add.
        folder: The folder.
    """
    title = printable_path(store.root.resolve().name)
    folders = {"/static": STATIC, **{k: v for p in plugins for k, v in p.static.items()}}
    for path, content in read_files(folders, (".css", ".svg")).items():
        folder.write(path.lstrip("/"), content)
    styles = [f"static/{file.name}" for file in sorted(STATIC.glob("*.css"))]
    styles.sort(key=lambda style: style != "static/style.css")  # others build upon it
    scripts = ["/static/main.js", *(script for plugin in plugins for script in plugin.scripts)]
    total = len(store.get().store)
    page = render_static_page(
        title, describe_folder(count, total), read_files(folders, (".js",)), scripts, styles
    )
    folder.write("index.html", page.encode())
    mark = {
        "flowkit_static": 1, "flowkit": __version__, "videos": count, "files": folder.files,
    }  # fmt: skip
    folder.write(MARK, (json.dumps(mark) + os.linesep).encode())


def describe_folder(count: int, total: int) -> str:
    """Say on the page what the folder has, and what it lacks."""
    videos = f"all {total:,} videos" if count == total else f"{count:,} of its {total:,} videos"
    return (
        f"A copy of the store without a server, with {videos}. What is computed when it is asked "
        "for, such as attention, is left out; flowkit view with the store shows it."
    )
