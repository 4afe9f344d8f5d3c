"""A layer under `flowkit.store.format` in which a disk fails, or a process dies, at a chosen step.

Like the test VFS of SQLite, it sits between the store and the operating system: it counts every
call that changes the disk, and at step n of a session it kills the process, cuts the power, fills
the disk or takes the permission to write. The layer is installed in a forked child only.

A cut of the power loses what was not synced: a file keeps any length between what was synced and
what was written, or has zeros there, and renames and removals that no sync of the folder followed
may not have happened.
"""

import errno
import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Fault = Literal["none", "exit", "torn", "power", "full", "denied", "clock"]
KILLED = 77
"""Exit code of a process that the layer ended."""


class FaultLayer:
    """Patches the calls that change the disk, in this process and for good.

    Args:
        root: Files outside of this folder are not affected.
        fault: What happens.
        step: The step at which it happens, from 0.
        rng: Decides what a cut of the power loses, and how the clock jumps.

    Attributes:
        steps: Number of steps so far.
    """

    def __init__(self, root: Path, fault: Fault, step: int, rng: random.Random) -> None:
        self.root, self.fault, self.at, self.rng = str(root), fault, step, rng
        self.steps = 0
        self._synced: dict[str, int] = {}  # bytes of each new file that are on disk
        self._pending: list[tuple[str, str, bytes | None]] = []  # renames and removals not synced

    def install(self) -> None:
        """Patch the calls."""
        self._write, self._fsync, self._open = os.write, os.fsync, Path.open
        self._replace, self._unlink, self._rename = Path.replace, Path.unlink, Path.rename
        self._mkdir = Path.mkdir
        layer = self

        def write(descriptor: int, data: Any) -> int:
            return layer._step_write(
                layer._path(descriptor), data, lambda d: self._write(descriptor, d)
            )

        def fsync(descriptor: int) -> None:
            path = layer._path(descriptor)
            layer._step("fsync", path)
            self._fsync(descriptor)
            layer._note_sync(path)

        def replace(path: Path, target: Any) -> Path:
            layer._step("rename", str(path))
            layer._note_rename(str(path), str(target))
            return self._replace(path, target)

        def rename(path: Path, target: Any) -> Path:
            layer._step("rename", str(path))
            return self._rename(path, target)

        def unlink(path: Path, missing_ok: bool = False) -> None:
            layer._step("unlink", str(path))
            self._unlink(path, missing_ok=missing_ok)

        def mkdir(path: Path, *arguments: Any, **options: Any) -> None:
            layer._step("mkdir", str(path))
            self._mkdir(path, *arguments, **options)

        def open_path(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode != "wb" or not str(path).startswith(layer.root):
                return self._open(path, mode, *arguments, **options)
            layer._step("open", str(path))
            return CountedFile(path, layer)

        os.write, os.fsync = write, fsync
        Path.replace, Path.rename, Path.unlink = replace, rename, unlink  # type: ignore
        Path.mkdir, Path.open = mkdir, open_path  # type: ignore
        if self.fault == "clock":
            self._install_clock()

    def _install_clock(self) -> None:
        """Let the clock jump by up to a day, also backwards, at each look at it."""
        real, real_ns = time.time, time.time_ns
        time.time = lambda: real() + self.rng.uniform(-86400, 86400)
        time.time_ns = lambda: real_ns() + self.rng.randrange(-86400, 86400) * 10**9

    def _path(self, descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (Path is patched)

    def _is_due(self, path: str) -> bool:
        """Count a step; return whether the fault happens at it."""
        if not path.startswith(self.root):
            return False
        self.steps += 1
        return self.steps > self.at

    def _step(self, kind: str, path: str) -> None:
        if not self._is_due(path):
            return
        if self.fault == "full" and kind in ("fsync", "mkdir", "open"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if self.fault == "denied" and kind != "fsync":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        self._die()

    def _step_write(self, path: str, data: Any, write: Callable[[Any], int]) -> int:
        if self._is_due(path):
            if self.fault == "full":
                half = memoryview(data).cast("B")[: self.rng.randrange(len(data) + 1)]
                if self.steps == self.at + 1 and len(half):
                    return write(half)  # a disk takes what still has room
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            if self.fault == "torn":
                write(memoryview(data).cast("B")[: self.rng.randrange(len(data) + 1)])
            self._die()
        self._synced.setdefault(path, os.stat(path).st_size if os.path.exists(path) else 0)  # noqa
        return write(data)

    def _die(self) -> None:
        """End the process without any clean-up, if the fault is one that ends it."""
        if self.fault == "power":
            self._lose()
        if self.fault in ("exit", "torn", "power"):
            os._exit(KILLED)

    def _note_sync(self, path: str) -> None:
        if os.path.isdir(path):  # noqa: PTH112
            self._pending = [p for p in self._pending if os.path.dirname(p[1]) != path]  # noqa
        else:
            self._synced[path] = os.path.getsize(path)  # noqa: PTH202

    def _note_rename(self, source: str, target: str) -> None:
        old = None
        if os.path.exists(target):  # noqa: PTH110
            with io.FileIO(target) as file:
                old = file.readall()
        self._pending.append((source, target, old))
        if source in self._synced:
            self._synced[target] = self._synced.pop(source)

    def _lose(self) -> None:
        """Lose what is not synced, as far as the generator decides."""
        for path, synced in self._synced.items():
            size = os.path.getsize(path) if os.path.exists(path) else 0  # noqa: PTH110, PTH202
            if size > synced:
                kept = self.rng.randint(synced, size)
                os.truncate(path, kept)
                if self.rng.random() < 0.5:
                    os.truncate(path, size)  # zeros, as file systems with late allocation leave
        for source, target, old in reversed(self._pending):
            if self.rng.random() < 0.5 and os.path.exists(target):  # noqa: PTH110
                os.rename(target, source)  # noqa: PTH104
                if old is not None:
                    with io.FileIO(target, "w") as file:
                        file.write(old)


class CountedFile(io.FileIO):
    """A file that is written through the layer, without a buffer."""

    def __init__(self, path: Path, layer: FaultLayer) -> None:
        super().__init__(str(path), "w")
        self._layer, self._text = layer, str(path)

    def write(self, data: Any) -> int:
        """Write all of the data."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += self._layer._step_write(self._text, view[done:], super().write)
        return done
