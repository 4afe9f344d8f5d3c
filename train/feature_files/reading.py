"""Read the feature files of a folder."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import CorruptError, UsageError
from flowkit.streams import StreamName
from train.feature_files.folder import INFO_KEYS

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
DIGESTED_BYTES = 1 << 24
"""Bytes that are read at a time to compute a digest."""


class FeatureFiles:
    """The features of the videos of a folder, by id.

    Values are memory-mapped: only the rows that are used are read from the disk.

    Args:
        path: Folder that `compute_features` or ``flowkit features --out`` has written.

    Raises:
        UsageError: The folder has no feature files.
        CorruptError: A JSON file is damaged.

    Example:
        >>> files = train.FeatureFiles("feats")  # doctest: +SKIP
        >>> files["a.mp4"].shape, files.read_times("a.mp4")[0]  # doctest: +SKIP
        ((37, 2048), array([0.  , 0.64]))
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / ".flowkit" / "recipe.json").is_file():
            raise UsageError(
                f"{self.path} is no folder of feature files; expected one that `flowkit features "
                "--out` has written"
            )

    @cached_property
    def _infos(self) -> dict[str, dict[str, Any]]:
        """The JSON files of all videos by id, sorted by id."""
        infos = filter(None, map(read_info, self.path.glob("*.json")))
        return {info["id"]: info for info in sorted(infos, key=lambda info: str(info["id"]))}

    @property
    def ids(self) -> list[str]:
        """Return the ids of the videos that have features, sorted."""
        return list(self._infos)

    @property
    def streams(self) -> tuple[StreamName, ...]:
        """Return the streams that the features were computed from, in the order of columns."""
        recipe = self.path / ".flowkit" / "recipe.json"
        try:
            return tuple(json.loads(recipe.read_bytes())["networks"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptError(
                f"{recipe} is damaged ({error}): compute the features again, in another folder"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __contains__(self, id: object) -> bool:
        return id in self._infos

    def __len__(self) -> int:
        return len(self._infos)

    def __getitem__(self, id: str) -> F32:
        """Return the features of all streams side by side; see `read`.

        Raises:
            UsageError: The folder has no such video.
            CorruptError: A file is missing or damaged.
        """
        return self.read(id)

    def read(self, id: str, stream: StreamName | None = None, *, check: bool = False) -> F32:
        """Return the features of a video.

        Args:
            id: Id of the video.
            stream: Return only the columns of this stream. Default: those of all streams, side by
                side.
            check: Whether to read the whole file and compare it with its digest.

        Returns:
            Features of each window, float32 (T, D), or (T, crops, D) for several crops. It is
            memory-mapped and read-only, unless each stream has a file of its own and no `stream` is
            given.

        Raises:
            UsageError: The folder has no such video, or no such stream.
            CorruptError: A file is missing or damaged.
        """
        parts: dict[str, F32] = {}
        info = self.read_info(id)
        for file in info["files"]:
            array = open_features(self.path / file["name"], file["shape"])
            if check:
                check_digest(self.path / file["name"], array, file["digest"])
            if stream is None and len(info["files"]) == 1:
                return array
            parts |= {name: array[..., a:b] for name, (a, b) in file["columns"].items()}
        if stream is None:
            return np.concatenate(list(parts.values()), axis=-1)
        if stream not in parts:
            raise UsageError(f"{self.path} has no features of {stream}, only {', '.join(parts)}")
        return parts[stream]

    def read_info(self, id: str) -> dict[str, Any]:
        """Return the JSON file of a video: times, frame rate, padding, recipe and digests.

        Raises:
            UsageError: The folder has no such video.
        """
        if id not in self._infos:
            shown = ", ".join(self.ids[:3]) + (", …" if len(self) > 3 else "")
            raise UsageError(
                f"{self.path} has no features of {id!r}; it has those of {shown or 'no video'}"
            )
        return self._infos[id]

    def read_times(self, id: str) -> F64:
        """Return start and end of each window of a video in seconds, float64 (T, 2)."""
        info = self.read_info(id)
        return np.stack([info["start_seconds"], info["end_seconds"]], axis=1)


def read_info(path: Path) -> dict[str, Any] | None:
    """Read a JSON file of a video; None for another file, such as annotations.

    Raises:
        CorruptError: It is damaged.
    """
    try:
        info: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise CorruptError(
            f"{path} cannot be read ({error.strerror}): check its permissions"
        ) from error
    except ValueError as error:
        raise CorruptError(
            f"{path} is damaged ({error}): remove it, and compute the features again"
        ) from error
    is_info = isinstance(info, dict) and info.keys() >= INFO_KEYS
    return info if is_info else None


def open_features(path: Path, shape: Sequence[int]) -> F32:
    """Map a feature file.

    Args:
        path: The file.
        shape: Expected shape.

    Returns:
        The array, read-only.

    Raises:
        CorruptError: The file is missing, damaged, or of another shape.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise CorruptError(f"{path} is missing: compute the features again") from None
    except (ValueError, EOFError, OSError) as error:
        raise CorruptError(
            f"{path} is damaged ({error}): remove it, and compute the features again"
        ) from error
    if array.dtype != np.float32 or array.shape != tuple(shape):
        raise CorruptError(
            f"{path}: expected float32 {tuple(shape)}, as the JSON file says, got {array.dtype} "
            f"{array.shape}: remove it, and compute the features again"
        )
    values: F32 = array
    return values


def check_digest(path: Path, array: F32, expected: str) -> None:
    """Compare the values of a feature file with their digest.

    Raises:
        CorruptError: They differ.
    """
    digest = hashlib.blake2b(digest_size=16)
    content = array.reshape(-1)
    for start in range(0, len(content), DIGESTED_BYTES // 4):
        digest.update(content[start : start + DIGESTED_BYTES // 4].astype("<f4").tobytes())
    if digest.hexdigest() != expected:
        raise CorruptError(
            f"{path} is damaged: its values do not have the digest {expected} of the JSON file; "
            "remove it, and compute the features again"
        )
