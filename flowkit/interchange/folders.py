"""Find, list and check folders of numbered JPEG files before they are imported.

A video is a folder that holds ``img_<number>.jpg``, or ``flow_x_<number>.jpg`` and
``flow_y_<number>.jpg``, or all three. Numbers start at 0 or 1 and have no gaps, and there is one
flow field fewer than frames.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from flowkit.annotations.video_files import walk_folders
from flowkit.errors import UsageError, VideoError

FORMATS = ("denseflow", "mmaction2")
"""The tools that write such folders."""
IMAGE_FILE = re.compile(r"(img|flow_x|flow_y)_(\d+)\.jpe?g", re.IGNORECASE)
"""Names of the image files of a video."""
STEP_FILE = re.compile(r"flow_[xy]_([pm])(\d+)_\d+\.jpe?g", re.IGNORECASE)
"""Names that denseflow gives to flow images of another step than 1, such as ``flow_x_p2_00000.jpg``
for step 2 and ``flow_x_m1_00001.jpg`` for step −1.
"""
PREFIXES = ("img", "flow_x", "flow_y")
"""Prefixes of the file names, which tell RGB images from the two components of flow."""


@dataclass(frozen=True, kw_only=True)
class FrameFolder:
    """The checked image files of one video, in order of time."""

    id: str
    """Id of the video."""
    path: Path
    """Folder that holds the files."""
    fps: float
    """Frames per second."""
    rgb: tuple[Path, ...]
    """RGB images; empty if the folder has flow only."""
    flow_x: tuple[Path, ...]
    """Images of the x component of flow; empty if the folder has RGB only."""
    flow_y: tuple[Path, ...]
    """Images of the y component of flow, as many as ``flow_x``."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that the folder holds: ``rgb``, ``flow`` or both."""
        return tuple(name for name, files in (("rgb", self.rgb), ("flow", self.flow_x)) if files)

    @property
    def frames(self) -> int:
        """Number of frames of the video; without RGB, one more than flow fields."""
        return len(self.rgb) or len(self.flow_x) + 1


def find_folders(folder: Path) -> list[Path]:
    """Find the folders that hold numbered images.

    Args:
        folder: Folder to search, with everything below it except hidden folders. Links to folders
            are followed.

    Returns:
        Paths of the folders with images, sorted.

    Raises:
        UsageError: There is no such folder, or one cannot be listed.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder with those of videos; check the path")
    matches = []
    for content in walk_folders(folder):
        path = folder / content.path
        if content.has_images and any(IMAGE_FILE.fullmatch(file.name) for file in path.iterdir()):
            matches.append(path)
    return sorted(matches)


def read_folder(path: Path, id: str, fps: float) -> FrameFolder:
    """List the files of one video, and check that their numbers and counts match.

    Args:
        path: Folder that holds the files.
        id: Id of the video.
        fps: Frames per second.

    Returns:
        The files.

    Raises:
        VideoError: If numbers are missing or occur twice, if there are not as many flow fields as
            the frames need, if RGB and flow start at different numbers, or if flow has another
            step than 1.
    """
    numbered: dict[str, dict[int, Path]] = {prefix: {} for prefix in PREFIXES}
    for file in path.iterdir():
        if match := STEP_FILE.fullmatch(file.name):
            step = f"{'-' if match[1].lower() == 'm' else ''}{int(match[2])}"
            raise VideoError(
                "step",
                f"{path}: {file.name} is flow with step {step}, and only flow to the next frame "
                "can be imported; `flowkit extract --step` computes such flow from the video; or "
                "remove these files",
            )
        if match := IMAGE_FILE.fullmatch(file.name):
            earlier_file = numbered[match[1].lower()].setdefault(int(match[2]), file)
            if earlier_file != file:
                names = f"{earlier_file.name} and {file.name}"
                raise VideoError("gap", f"{path}: {names} have the same number")
    rgb, flow_x, flow_y = (sort_files(path, prefix, numbered[prefix]) for prefix in PREFIXES)
    if len(flow_x) != len(flow_y):
        counts = f"{len(flow_x)} flow_x but {len(flow_y)} flow_y files"
        raise VideoError("count", f"{path}: {counts}; extract it again")
    if rgb and flow_x and len(flow_x) != len(rgb) - 1:
        raise VideoError(
            "count",
            f"{path}: {len(rgb)} frames need {len(rgb) - 1} flow fields, found {len(flow_x)} "
            "(denseflow can lose its last batch); extract it again",
        )
    starts = {min(numbers) for numbers in numbered.values() if numbers}
    if len(starts) > 1:
        problem = f"frames and flow start at different numbers {sorted(starts)}"
        raise VideoError("numbering", f"{path}: {problem}; rename the files")
    return FrameFolder(id=id, path=path, fps=fps, rgb=rgb, flow_x=flow_x, flow_y=flow_y)


def sort_files(path: Path, prefix: str, numbered: dict[int, Path]) -> tuple[Path, ...]:
    """Sort files by number, and check that the numbers start at 0 or 1 and have no gaps.

    Args:
        path: Folder that holds the files, for messages.
        prefix: Prefix of their names, for messages.
        numbered: Files by number; may be empty.

    Returns:
        The files in the order of their numbers.

    Raises:
        VideoError: If the numbers start elsewhere or have gaps.
    """
    if not numbered:
        return ()
    first, last = min(numbered), max(numbered)
    if first > 1:
        raise VideoError("gap", f"{path}: {prefix} starts at {first}, expected 0 or 1")
    missing = [number for number in range(first, last) if number not in numbered]
    if missing:
        shown = ", ".join(map(str, missing[:3])) + (", …" if len(missing) > 3 else "")
        raise VideoError(
            "gap", f"{path}: {prefix} lacks {len(missing)} of {last - first + 1} numbers: {shown}"
        )
    return tuple(numbered[number] for number in range(first, last + 1))
