"""Folders of numbered JPEG files: found, listed and checked, before anything is read.

A video is a folder with ``img_<number>.jpg`` and/or ``flow_x_<number>.jpg`` with
``flow_y_<number>.jpg``, numbered without gaps from 0 or 1, and one flow field less than frames.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from flowkit.errors import VideoError

FILE = re.compile(r"(img|flow_x|flow_y)_(\d+)\.jpe?g", re.IGNORECASE)
KINDS = ("img", "flow_x", "flow_y")


@dataclass(frozen=True, kw_only=True)
class FrameFolder:
    """The files of one video, checked: paths in order of time; flow lists may be empty."""

    id: str
    path: Path
    fps: float
    rgb: tuple[Path, ...]
    flow_x: tuple[Path, ...]
    flow_y: tuple[Path, ...]

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(name for name, files in (("rgb", self.rgb), ("flow", self.flow_x)) if files)

    @property
    def frames(self) -> int:
        return len(self.rgb) or len(self.flow_x) + 1


def find_folders(folder: Path) -> list[Path]:
    """Every folder at or below ``folder`` that holds numbered frames or flow, sorted."""
    found = []
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(FILE.fullmatch(name) for name in files):
            found.append(Path(path))
    return sorted(found)


def read_folder(path: Path, id: str, fps: float) -> FrameFolder:
    """List a folder's files, and refuse gaps, unequal counts and numbers that do not match."""
    numbered: dict[str, dict[int, Path]] = {kind: {} for kind in KINDS}
    for file in path.iterdir():
        if match := FILE.fullmatch(file.name):
            kind, number = match[1].lower(), int(match[2])
            if number in numbered[kind]:
                twin = numbered[kind][number].name
                raise VideoError("gap", f"{path}: {twin} and {file.name} are the same number")
            numbered[kind][number] = file
    rgb, flow_x, flow_y = (order(path, kind, numbered[kind]) for kind in KINDS)
    if len(flow_x) != len(flow_y):
        raise VideoError(
            "count",
            f"{path}: {len(flow_x)} flow_x but {len(flow_y)} flow_y files; extract it again",
        )
    if rgb and flow_x and len(flow_x) != len(rgb) - 1:
        raise VideoError(
            "count",
            f"{path}: {len(rgb)} frames want {len(rgb) - 1} flow fields, found {len(flow_x)} "
            "(denseflow can lose its last batch); extract it again",
        )
    starts = {min(numbers) for numbers in numbered.values() if numbers}
    if len(starts) > 1:
        raise VideoError(
            "numbering",
            f"{path}: frames and flow start at different numbers {sorted(starts)}; rename them",
        )
    return FrameFolder(id=id, path=path, fps=fps, rgb=rgb, flow_x=flow_x, flow_y=flow_y)


def order(path: Path, kind: str, numbered: dict[int, Path]) -> tuple[Path, ...]:
    """Files by number, from 0 or 1 and without gaps."""
    if not numbered:
        return ()
    first, last = min(numbered), max(numbered)
    if first > 1:
        raise VideoError("gap", f"{path}: {kind} starts at {first}, expected 0 or 1")
    missing = [number for number in range(first, last) if number not in numbered]
    if missing:
        shown = ", ".join(map(str, missing[:3])) + (", …" if len(missing) > 3 else "")
        raise VideoError(
            "gap", f"{path}: {kind} lacks {len(missing)} of {last - first + 1} numbers: {shown}"
        )
    return tuple(numbered[number] for number in range(first, last + 1))
