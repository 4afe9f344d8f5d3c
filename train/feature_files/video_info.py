"""Describe the feature files of one video, for the JSON file beside them.

The description does not depend on when or how fast the features were computed, so that a run that
was killed and repeated leaves equal files. Its keys are:

    format             version of the files: 1
    id                 id of the video, from which the names of the files come (folder.py)
    source             path of the video file or frame folder
    fingerprint        size (bytes), mtime_ns and digest of the source, by which --update notices
                       that it has changed
    files              one entry for each .npy file:
      name               its name
      shape              (rows, features), or (rows, crops, features)
      columns            first column of each stream, and the one after its last
      digest             BLAKE2b digest (128 bits) of its values as little-endian float32
    rows               number of rows (T), one for each window
    frames             number of frames, after resampling
    frame_rate         frames per second, after resampling; the average if it varies
    source_frame_rate  frames per second that the file states, or that were stated for a frame
                       folder; null if none were
    duration           end of the last frame, in seconds from the first frame
    width, height      size of the resized frames in pixels, before cropping
    start_seconds      T times: when the first frame of each row's window appears
    end_seconds        T times: when the last frame of each row's window disappears
    padding            [row, frames] for each row whose window repeats the first or last frame of
                       the video, and how many of its frames do
    warnings           what the decoder noticed, and whether the video is shorter than a window
    recipe             all settings that decide the values (recipe.py); equal in the whole folder
    provenance         versions of flowkit and PyTorch, backend of the flow, device, host
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flowkit.store import Fingerprint
from flowkit.store.frame_times import list_bounds
from train.feature_files.folder import FORMAT
from train.feature_files.recipe import FileRecipe
from train.feature_files.windows import WindowSampling


@dataclass(frozen=True, kw_only=True)
class FrameFacts:
    """What was found out about the frames of a video while they were read."""

    frames: int
    """Number of frames, after resampling."""
    frame_rate: float
    """Frames per second, after resampling; the average if it varies."""
    source_frame_rate: float | None
    """Frames per second of the file, or stated for a frame folder; None if not known."""
    width: int
    """Width of the resized frames in pixels."""
    height: int
    """Height of the resized frames in pixels."""
    times: Sequence[int | None]
    """Presentation times in microseconds, None where unknown."""
    warnings: tuple[str, ...]
    """Warnings of the decoder."""

    def list_bounds(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """List when each frame appears and when the last one disappears, in seconds, (N + 1,)."""
        known = [time for time in self.times if time is not None]
        if len(known) < self.frames:
            return np.arange(self.frames + 1) / self.frame_rate
        return list_bounds(np.array(known) / 1e6, self.frame_rate)


def count_needed_frames(windows: WindowSampling) -> int:
    """Count the frames that a window spans, and one more if the last frame is dropped."""
    return windows.extent + (windows.last_frame == "drop")


def describe_video(
    id: str,
    source: str,
    fingerprint: Fingerprint,
    facts: FrameFacts,
    files: Sequence[Mapping[str, Any]],
    recipe: FileRecipe,
    provenance: Mapping[str, str],
) -> dict[str, Any]:
    """Describe the features of a video as JSON values.

    Args:
        id: Id of the video.
        source: Path of the file, as printable text.
        fingerprint: Fingerprint of the file.
        facts: The frames.
        files: The entries of the feature files; see above.
        recipe: Recipe of the folder.
        provenance: Versions, backend and machine that computed the features.
    """
    windows, bounds = recipe.windows, facts.list_bounds()
    frames = windows.list_frames(facts.frames)
    padding = windows.list_padding(facts.frames)
    warnings = list(facts.warnings)
    if windows.is_too_short(facts.frames):
        warnings.append(
            f"a window needs {count_needed_frames(windows)} frames, and the video has "
            f"{facts.frames}: rows repeat the first or the last one"
        )
    return {
        "format": FORMAT,
        "id": id,
        "source": source,
        "fingerprint": asdict(fingerprint),
        "files": files,
        "rows": len(frames),
        "frames": facts.frames,
        "frame_rate": facts.frame_rate,
        "source_frame_rate": facts.source_frame_rate,
        "duration": round(float(bounds[-1]), 6),
        "width": facts.width,
        "height": facts.height,
        "start_seconds": [round(float(t), 6) for t in bounds[frames[:, 0]]],
        "end_seconds": [round(float(t), 6) for t in bounds[frames[:, -1] + 1]],
        # Row and number of its frames that repeat the first or the last frame of the video.
        "padding": [[int(row), int(padding[row])] for row in np.flatnonzero(padding)],
        "warnings": warnings,
        "recipe": recipe.to_dict(),
        "provenance": dict(provenance),
    }
