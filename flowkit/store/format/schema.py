"""The shapes of what a store holds: columns of shards, videos, and commit records.

The format is described in README.md beside this file; names here are the names there.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from flowkit.errors import StoreError
from flowkit.path_text import replace_surrogates
from flowkit.recipe import FEATURES, Recipe
from flowkit.streams import STREAMS, Column

FORMAT = 1
FOLDERS: dict[str, tuple[str, ...]] = {
    folder: tuple(name for name, stream in STREAMS.items() if stream.folder == folder)
    for folder in dict.fromkeys(stream.folder for stream in STREAMS.values())
}
"""The streams in each shard folder, features aside."""
BATCH_KEY = "flowkit.batch"
BATCH_CRC_KEY = "flowkit.batch.crc32"
BATCH_ROWS = 1024
DIGEST_BYTES = 1 << 20
"""A fingerprint's digest covers this much of a file's head, middle and tail."""


FEATURE_COLUMNS = (
    Column("vector", "vector", "float16"),
    Column("position", "number", "int32"),
    Column("view", "number", "int16"),
)


def shard_columns(folder: str) -> tuple[Column, ...]:
    """The columns of the shards in ``folder`` (``frames``, ``audio`` or ``features/<name>``)."""
    if folder in FOLDERS:
        return tuple(column for name in FOLDERS[folder] for column in STREAMS[name].columns)
    if folder.startswith(FEATURES) and len(folder) > len(FEATURES):
        return FEATURE_COLUMNS
    known = ", ".join(FOLDERS)
    raise StoreError(f"a shard folder is {known} or features/<name>, got {folder!r}")


def folder_streams(folder: str) -> tuple[str, ...]:
    """The streams that shards in ``folder`` may hold."""
    return FOLDERS.get(folder, (folder,))


def shard_folders(root: Path) -> list[str]:
    """The shard folders that exist in a store, e.g. ``["audio", "features/rgb", "frames"]``."""
    found = [name for name in FOLDERS if (root / name).is_dir()]
    if (root / "features").is_dir():
        found += [f"{FEATURES}{path.name}" for path in (root / "features").iterdir()]
    return sorted(found)


def vector_dimension(folder: str, recipe: Recipe) -> int | None:
    """Return how many values a vector has in the shards of ``folder``.

    Returns:
        The size of an audio patch, or the dimension of the features; None for ``frames``.

    Raises:
        StoreError: The recipe has no such features.
    """
    if folder in FOLDERS:
        return STREAMS[FOLDERS[folder][0]].vector_size
    name = folder.removeprefix(FEATURES)
    if name not in recipe.features:
        known = ", ".join(recipe.features) or "none"
        raise StoreError(
            f"expected features that the store's recipe has ({known}), got {name!r}; add its "
            "FeatureRecipe with create_or_open first"
        )
    return recipe.features[name].dimension


def arrow_schema(
    folder: str, dimension: int | None = None, metadata: Mapping[str, str] | None = None
) -> Any:
    """The ``pyarrow.Schema`` of shards in ``folder``; ``dimension`` is that of a feature vector."""
    import pyarrow as pa

    if folder in FOLDERS:
        dimension = STREAMS[FOLDERS[folder][0]].vector_size
    fields = []
    for column in shard_columns(folder):
        if column.kind == "bytes":
            kind = pa.large_binary()
        elif column.kind == "vector":
            if dimension is None:
                raise StoreError(f"shards of {folder} need the dimension of their vectors")
            kind = pa.list_(pa.type_for_alias(column.dtype), dimension)
        else:
            kind = pa.type_for_alias(column.dtype)
        fields.append((column.name, kind))
    return pa.schema(fields, metadata=dict(metadata) if metadata else None)


def shard_schema(folder: str, recipe: Recipe, part: tuple[int, int] = (0, 1)) -> Any:
    """The ``pyarrow.Schema`` of new shards in ``folder``, with the metadata of README.md.

    ``part`` is the (i, n) of the dataset that the writer works on.
    """
    return arrow_schema(
        folder,
        vector_dimension(folder, recipe),
        {
            "flowkit.format": str(FORMAT),
            "flowkit.folder": folder,
            "flowkit.recipe": json.dumps(recipe.to_dict()),
            "flowkit.run": f"{part[0]}/{part[1]}",
        },
    )


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells one source file from another.

    ``size`` in bytes, ``mtime_ns`` in nanoseconds since 1970, ``digest`` the 32 hex digits of
    BLAKE2b-128 over the size and the first, middle and last MiB.
    """

    size: int
    mtime_ns: int
    digest: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """The fingerprint of the file at ``path``; OSError where it cannot be read."""
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.blake2b(str(status.st_size).encode(), digest_size=16)
            last = max(0, status.st_size - DIGEST_BYTES)
            for start in sorted({0, last // 2, last}):
                file.seek(start)
                digest.update(file.read(DIGEST_BYTES))
        return cls(status.st_size, status.st_mtime_ns, digest.hexdigest())

    def same_content(self, other: "Fingerprint") -> bool:
        """Whether both stand for the same bytes (a touched file has only another time)."""
        return (self.size, self.digest) == (other.size, other.digest)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoMeta:
    """What a finished video says of itself.

    ``frames`` are its rows in the shard; ``fps`` stored rows per second; ``width`` and ``height``
    in pixels (0 for audio). StoreError where ``id`` is not valid Unicode, or ``source`` is empty;
    bytes of ``source`` and ``warnings`` that are not UTF-8 are kept as their hexadecimal escapes.
    """

    id: str
    source: str
    fingerprint: Fingerprint
    streams: tuple[str, ...]
    frames: int
    fps: float
    width: int
    height: int
    warnings: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    supersedes: bool = False

    def __post_init__(self) -> None:
        check_text(self.id, "a video's id")
        object.__setattr__(self, "source", replace_surrogates(self.source))
        object.__setattr__(self, "warnings", tuple(map(replace_surrogates, self.warnings)))
        check_text(self.source, "a video's source")

    def to_dict(self) -> dict[str, Any]:
        """The video as JSON values; a false ``supersedes`` is left out."""
        # Not asdict, whose deep copies are most of what many small videos cost.
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        mark = self.fingerprint
        values["fingerprint"] = {name: getattr(mark, name) for name in mark.__dataclass_fields__}
        if not self.supersedes:
            del values["supersedes"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Invert :meth:`to_dict`, ignoring unknown keys; KeyError or TypeError if malformed."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        mark = known["fingerprint"]
        known["fingerprint"] = Fingerprint(mark["size"], mark["mtime_ns"], mark["digest"])
        known["streams"] = tuple(known["streams"])
        known["warnings"] = tuple(known.get("warnings", ()))
        return cls(**known)


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedVideo(VideoMeta):
    """The metadata of a committed video and where it lies in its shard."""

    batch: int
    """Index of the batch that holds its first row, from 0."""
    batches: int
    """Number of batches that hold its rows."""
    first_row: int
    """Its first row in that batch, from 0."""
    rows: int
    """Number of its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitRecord:
    """The commit record of a shard: readers ignore a shard that has none."""

    folder: str
    """Shard folder, such as ``frames`` or ``features/<name>``."""
    uuid: str
    """Name of the shard file without its suffix."""
    rows: int
    """Number of rows in the shard."""
    bytes: int
    """Size of the shard file in bytes."""
    sha256: str
    """SHA-256 of the shard file, in hexadecimal."""
    committed: float
    """Time of the commit, in seconds since 1970."""
    videos: tuple[CommittedVideo, ...]
    """The complete videos of the shard, in file order."""

    @property
    def name(self) -> str:
        """``folder/uuid``."""
        return f"{self.folder}/{self.uuid}"


def encode_json(values: Any) -> bytes:
    """Compact UTF-8 JSON."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def check_text(text: str, what: str) -> str:
    """``text``, or a StoreError where UTF-8 cannot hold it, or it is empty."""
    try:
        if text.encode():
            return text
    except UnicodeEncodeError:
        raise StoreError(f"{what} must be valid Unicode, got {text!a}; rename the file") from None
    raise StoreError(f"{what} must not be empty; give it a name")
