"""Define what a store consists of: columns of shards, metadata of videos, and commit records.

flowkit/store/README.md describes the format, with the same names.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from flowkit.errors import StoreError
from flowkit.path_text import replace_surrogates
from flowkit.recipe import FEATURE_NAME, FEATURES, StoreRecipe
from flowkit.streams import SHARED_COLUMNS, STREAMS, Column

FORMAT = 1
FOLDERS: dict[str, tuple[str, ...]] = {
    folder: tuple(name for name, stream in STREAMS.items() if stream.folder == folder)
    for folder in dict.fromkeys(stream.folder for stream in STREAMS.values())
}
"""The streams in each shard folder, features aside."""
BATCH_KEY = "flowkit.batch"
BATCH_CRC_KEY = "flowkit.batch.crc32"
ROW_CRC_NAME = "row_crc32"
"""Key in the metadata of a batch of the checksums of its rows, which older versions lack."""
BATCH_ROWS = 1024
OMITTED_FIELDS = ("supersedes", "duration", "motion")
"""Fields of `VideoMeta` that are left out of a file if they are false or None."""
DIGEST_BYTES = 1 << 20
"""Bytes at the start, in the middle and at the end of a file that a fingerprint's digest covers."""


FEATURE_COLUMNS = (
    Column("vector", "vector", "float16"),
    Column("position", "number", "int32"),
    Column("view", "number", "int16"),
)
"""A feature's vector, the frame index that it was computed at, and the index of its crop."""


def shard_columns(folder: str) -> tuple[Column, ...]:
    """Return the columns of the shards in ``frames``, ``audio`` or ``features/<name>``."""
    if folder in FOLDERS:
        own = tuple(column for name in FOLDERS[folder] for column in STREAMS[name].columns)
        return own + SHARED_COLUMNS.get(folder, ())
    if folder.startswith(FEATURES) and len(folder) > len(FEATURES):
        return FEATURE_COLUMNS
    known = ", ".join(FOLDERS)
    raise StoreError(f"a shard folder is {known} or features/<name>, got {folder!r}")


def folder_streams(folder: str) -> tuple[str, ...]:
    """Return the streams that shards in ``folder`` may hold."""
    return FOLDERS.get(folder, (folder,))


def shard_folders(root: Path) -> list[str]:
    """Return the shard folders that exist, such as ``["audio", "features/rgb", "frames"]``."""
    folders = [name for name in FOLDERS if (root / name).is_dir()]
    if (root / "features").is_dir():
        folders += [
            f"{FEATURES}{path.name}"
            for path in (root / "features").iterdir()
            if FEATURE_NAME.fullmatch(path.name) and path.is_dir()  # no .DS_Store
        ]
    return sorted(folders)


def vector_dimension(folder: str, recipe: StoreRecipe) -> int | None:
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
    folder: str, dimension: int | None = None, columns: Sequence[Column] | None = None
) -> Any:
    """Build the Arrow schema of the shards in a folder.

    Args:
        folder: Shard folder.
        dimension: Number of values of a feature vector; not needed in other folders.
        columns: The columns; None for all columns of the folder.

    Returns:
        A ``pyarrow.Schema``.

    Raises:
        StoreError: The folder holds features, and ``dimension`` is missing.
    """
    import pyarrow as pa

    if folder in FOLDERS:
        dimension = STREAMS[FOLDERS[folder][0]].vector_size
    fields = []
    for column in shard_columns(folder) if columns is None else columns:
        if column.kind == "bytes":
            kind = pa.large_binary()
        elif column.kind == "vector":
            if dimension is None:
                raise StoreError(f"shards of {folder} need the dimension of their vectors")
            kind = pa.list_(pa.type_for_alias(column.dtype), dimension)
        else:
            kind = pa.type_for_alias(column.dtype)
        fields.append((column.name, kind))
    return pa.schema(fields)


def shard_schema(
    folder: str,
    recipe: StoreRecipe,
    part: tuple[int, int] = (0, 1),
    columns: Sequence[Column] | None = None,
) -> Any:
    """Build the Arrow schema of new shards, with the metadata that README.md describes.

    Args:
        folder: Shard folder.
        recipe: Recipe of the store.
        part: The part (i, n) of the dataset that the writer works on.
        columns: The columns; None for all columns of the folder.

    Returns:
        A ``pyarrow.Schema``.
    """
    metadata = {
        "flowkit.format": str(FORMAT),
        "flowkit.folder": folder,
        "flowkit.recipe": json.dumps(recipe.to_dict()),
        "flowkit.run": f"{part[0]}/{part[1]}",
    }
    return arrow_schema(folder, vector_dimension(folder, recipe), columns).with_metadata(metadata)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Size, time and digest of a source file, by which a change of the file is noticed."""

    size: int
    """Size in bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds since 1970."""
    digest: str
    """32 hexadecimal digits: BLAKE2b-128 over the size and the first, middle and last MiB."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """Compute the fingerprint of the file at ``path``; OSError if it cannot be read."""
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.blake2b(str(status.st_size).encode(), digest_size=16)
            last = max(0, status.st_size - DIGEST_BYTES)
            for start in sorted({0, last // 2, last}):
                file.seek(start)
                digest.update(file.read(DIGEST_BYTES))
        return cls(status.st_size, status.st_mtime_ns, digest.hexdigest())

    def same_content(self, other: "Fingerprint") -> bool:
        """Return whether both files have the same size and digest; their times may differ."""
        return (self.size, self.digest) == (other.size, other.digest)


class Motion(NamedTuple):
    """How much the picture of a video moves: the length of its flow's displacements in pixels.

    It is computed from the quantized flow before JPEG, in every fourth row of pixels.
    """

    mean: float
    """Mean length."""
    p95: float
    """95th percentile of the lengths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoMeta:
    """Metadata of a complete video, as a shard and its commit record hold it.

    Bytes of ``source`` and ``warnings`` that are not UTF-8 are kept as their hexadecimal escapes.

    Raises:
        StoreError: ``id`` or ``source`` is empty, or ``id`` is not valid Unicode.
    """

    id: str
    """Id of the video, unique in the store."""
    source: str
    """Path of the file that it was extracted from."""
    fingerprint: Fingerprint
    """Fingerprint of that file."""
    streams: tuple[str, ...]
    """Names of the streams."""
    frames: int
    """Number of its frames, patches or features, as the writer counted them."""
    fps: float
    """Stored rows per second."""
    width: int
    """Width in pixels; 0 for audio and features."""
    height: int
    """Height in pixels; 0 for audio and features."""
    warnings: tuple[str, ...] = ()
    """Warnings of the decoder."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What made the data: versions, backend, machine, seconds."""
    duration: float | None = None
    """Seconds from the start of the first frame to the end of the last one; None if unknown."""
    motion: Motion | None = None
    """Length of the flow's displacements; None without flow, or if it is unknown."""
    supersedes: bool = False
    """Whether it replaces an extraction of an older source of the same id."""

    def __post_init__(self) -> None:
        check_text(self.id, "a video's id")
        object.__setattr__(self, "source", replace_surrogates(self.source))
        object.__setattr__(self, "warnings", tuple(map(replace_surrogates, self.warnings)))
        check_text(self.source, "a video's source")

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, without those of `OMITTED_FIELDS` that have their default."""
        # Not asdict, whose deep copies are slow where there are many short videos.
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fingerprint = self.fingerprint
        values["fingerprint"] = {
            name: getattr(fingerprint, name) for name in fingerprint.__dataclass_fields__
        }
        for name in OMITTED_FIELDS:
            if values[name] is None or values[name] is False:
                del values[name]
        if self.motion is not None:
            values["motion"] = self.motion._asdict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Convert the result of :meth:`to_dict` back, ignoring unknown keys.

        Raises:
            KeyError: A key is missing.
            TypeError: A value has the wrong type.
        """
        fields = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        fingerprint = fields["fingerprint"]
        fields["fingerprint"] = Fingerprint(
            fingerprint["size"], fingerprint["mtime_ns"], fingerprint["digest"]
        )
        fields["streams"] = tuple(fields["streams"])
        fields["warnings"] = tuple(fields.get("warnings", ()))
        if fields.get("motion") is not None:
            fields["motion"] = Motion(fields["motion"]["mean"], fields["motion"]["p95"])
        return cls(**fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedVideo(VideoMeta):
    """The metadata of a committed video and where it is in its shard."""

    batch: int
    """Index of the batch that holds its first row, from 0."""
    batches: int
    """Number of batches that hold its rows."""
    first_row: int
    """Its first row in that batch, from 0."""
    rows: int
    """Number of its rows in the shard; ``frames`` of a complete video."""


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
        """Return the name of the shard, ``folder/uuid``."""
        return f"{self.folder}/{self.uuid}"


def encode_json(values: Any) -> bytes:
    """Encode values as compact JSON in UTF-8."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def check_text(text: str, what: str) -> str:
    """Return ``text`` if it is valid Unicode and not empty; else raise a StoreError."""
    try:
        if text.encode():
            return text
    except UnicodeEncodeError:
        raise StoreError(f"{what} must be valid Unicode, got {text!a}; rename the file") from None
    raise StoreError(f"{what} must not be empty; give it a name")
