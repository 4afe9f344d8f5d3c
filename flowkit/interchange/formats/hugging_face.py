"""Export a store as Parquet files for Hugging Face Datasets: one row for each frame.

    <out>/README.md                        dataset card: splits, columns, how flow is read
    <out>/data/<subset>-000000.parquet     shards of frames
    <out>/videos/<subset>.parquet          one row for each video
    <out>/export.json, videos.csv, classes.txt

The columns of a frame are

    id      string: id of the video
    frame   int32: index of the frame in the video, from 0
    time    int64: microseconds from the first frame
    label   ClassLabel, where each video has at most one label, which applies to all of it; or
    labels  list of ClassLabel: the labels that apply at this time
    rgb     Image
    flow_x, flow_y    Image: grey, the quantized flow to the frame ``flow.step`` later, mostly the
            next one; null where there is none

The columns are described as `Features` of Hugging Face in the metadata of the schema under the key
``huggingface``, so that ``load_dataset("parquet", …)`` shows images and class names. The bytes of
the images are those of the store. A row group holds at most `GROUP_ROWS` rows, so that files can be
streamed.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowkit.errors import UsageError
from flowkit.interchange.formats.dataset_card import make_dataset_card
from flowkit.interchange.formats.export_format import ExportOptions, describe_quantization
from flowkit.interchange.formats.sharded_format import ShardedFormat
from flowkit.interchange.formats.shards import ShardRecord
from flowkit.interchange.formats.stored_frames import (
    StoredFrame,
    describe_video,
    list_frame_times,
    read_frames,
)
from flowkit.interchange.video_lists import write_shard_lists
from flowkit.store.format.atomic import convert_disk_errors, write_atomic
from flowkit.store.reader import Store
from flowkit.store.video import Video

GROUP_ROWS = 100
"""Largest number of frames in a row group."""
GROUP_BYTES = 16 << 20
"""Bytes of images at which a row group is closed earlier."""
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""Arrow type of a feature ``Image``."""
SPAN = pa.struct([("class", pa.int64()), ("start", pa.float64()), ("end", pa.float64())])
"""Arrow type of a label with its times in seconds."""


class HuggingFace(ShardedFormat):
    """Parquet shards with one row for each frame; see the module."""

    name = "huggingface"
    suffix = ".parquet"
    subfolder = "data"
    default_shard_bytes = 500_000_000
    single_partition = "train"

    def __init__(self, store: Store, out: Path, options: ExportOptions) -> None:
        """Choose the columns."""
        super().__init__(store, out, options)
        self.schema = make_frame_schema(store)
        self.settings["columns"] = self.schema.names

    @contextmanager
    def open_shard(self, path: Path) -> Iterator["FrameTableWriter"]:
        """Create a Parquet file."""
        options = {
            "compression": "none",  # JPEG images do not get smaller
            "use_dictionary": ["id"],
            "write_statistics": ["id", "frame", "time"],
        }
        with (
            path.open("wb") as file,  # so that an error of the disk is an OSError with its errno
            pq.ParquetWriter(file, self.schema, **options) as table,
        ):
            writer = FrameTableWriter(table, self.store, self.schema)
            yield writer
            writer.flush()

    def write_lists(self, complete_ids: list[str]) -> int:
        """Write the tables of videos, the dataset card, ``videos.csv`` and ``classes.txt``."""
        records = sorted(self.records.values(), key=lambda record: record.name)
        partitions: dict[str, list[ShardRecord]] = {}
        for record in records:
            partitions.setdefault(record.name.rpartition("-")[0], []).append(record)
        folder = self.out / "videos"
        folder.mkdir(exist_ok=True)
        for partition, group in partitions.items():
            path = folder / f"{partition}.parquet"
            with convert_disk_errors(path):
                write_video_table(path, self.store, group)
        unlabelled = write_shard_lists(self.store, self.out, records, lambda id: id)
        card = make_dataset_card(self.store, self.out.resolve().name, records, self.schema.names)
        write_atomic(self.out / "README.md", card.encode())
        return unlabelled


class FrameTableWriter:
    """Writes the frames of videos to a Parquet file.

    Args:
        file: The ``pyarrow.parquet.ParquetWriter`` of the file.
        store: Store that holds the videos.
        schema: ``pyarrow.Schema`` of its rows.
    """

    def __init__(self, file: Any, store: Store, schema: Any) -> None:
        self._file, self._store, self._schema = file, store, schema
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add_video(self, video: Video) -> None:
        """Write the frames of one video."""
        names = self._schema.names
        labels = describe_video(video, self._store.classes)["labels"]
        images = [name for name in ("rgb", "flow_x", "flow_y") if name in names]
        for frame, time in zip(
            read_frames(self._store, video), list_frame_times(video), strict=True
        ):
            row: dict[str, Any] = {"id": video.id, "frame": frame.t, "time": time}
            if "label" in names:
                row["label"] = labels[0]["class"] if labels else None
            elif "labels" in names:
                row["labels"] = find_labels(labels, time)
            row |= {name: make_image(frame, name) for name in images}
            self._rows.append(row)
            self._bytes += sum(len(getattr(frame, name) or b"") for name in images)
            if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write the rows that are in memory as one row group."""
        if self._rows:
            table = pa.Table.from_pylist(self._rows, self._schema)
            self._file.write_table(table, row_group_size=len(self._rows))
        self._rows, self._bytes = [], 0


def make_image(frame: StoredFrame, name: str) -> dict[str, Any] | None:
    """Make the value of a feature ``Image``.

    Args:
        frame: The frame.
        name: Name of its image: ``rgb``, ``flow_x`` or ``flow_y``.

    Returns:
        The value; None if the frame has no such image.
    """
    data = getattr(frame, name)
    return None if data is None else {"bytes": data, "path": None}


def find_labels(labels: list[dict[str, Any]], time: int) -> list[int]:
    """Find the labels that apply to a frame.

    Args:
        labels: Labels of the video, as `describe_video` describes them.
        time: Time of the frame in microseconds.

    Returns:
        Class indices in ascending order, each once. A label applies from its start to before its
        end, and a label without times applies to the whole video.
    """
    seconds = time / 1_000_000
    return sorted({
        label["class"]
        for label in labels
        if (label["start"] is None or label["start"] <= seconds)
        and (label["end"] is None or seconds < label["end"])
    })  # fmt: skip


def make_frame_schema(store: Store) -> Any:
    """Make the schema of a table of frames, with the features in its metadata.

    Args:
        store: Store to export.

    Returns:
        The schema.

    Raises:
        UsageError: If the store has no RGB and no flow.
    """
    fields: dict[str, tuple[Any, Any]] = {
        "id": (pa.string(), make_value("string")),
        "frame": (pa.int32(), make_value("int32")),
        "time": (pa.int64(), make_value("int64")),
    }
    class_label = {"names": list(store.classes), "_type": "ClassLabel"}
    if store.classes and has_single_labels(store):
        fields["label"] = pa.int64(), class_label
    elif store.classes:
        labels = {"feature": class_label, "_type": "Sequence"}
        fields["labels"] = pa.list_(pa.int64()), labels
    image = {"_type": "Image"}
    if store.recipe.rgb is not None:
        fields["rgb"] = IMAGE, image
    if store.recipe.flow is not None:
        fields["flow_x"] = fields["flow_y"] = IMAGE, image
    if "rgb" not in fields and "flow_x" not in fields:
        raise UsageError(
            f"{store.location} has no rgb and no flow, which are all that huggingface can hold; "
            "export it with --format webdataset"
        )
    return add_features(fields, describe_quantization(store))


def add_features(fields: dict[str, tuple[Any, Any]], quantization: dict[str, Any]) -> Any:
    """Make a schema whose metadata describes its features.

    Args:
        fields: Arrow type and feature of each column.
        quantization: Quantization of flow for readers of the metadata; empty without flow.

    Returns:
        The schema.
    """
    features = {name: feature for name, (_, feature) in fields.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    if quantization:
        metadata["flowkit"] = json.dumps(quantization)
    return pa.schema([(name, kind) for name, (kind, _) in fields.items()], metadata=metadata)


def make_value(dtype: str) -> dict[str, str]:
    """Describe a column of plain values, such as ``int64``."""
    return {"dtype": dtype, "_type": "Value"}


def has_single_labels(store: Store) -> bool:
    """Return whether each video has at most one label, and none of them has times."""
    labels = store.index.batch.column("labels")
    most = pc.max(pc.list_value_length(labels)).as_py() or 0
    flat = labels.flatten()
    is_timed = any(flat.field(name).null_count < len(flat) for name in ("start", "end"))
    return bool(most <= 1 and not is_timed)


def write_video_table(path: Path, store: Store, records: list[ShardRecord]) -> None:
    """Write the table of the videos of some shards.

    Args:
        path: File to write.
        store: Store that was exported.
        records: Records of the shards.
    """
    class_label = {"names": list(store.classes), "_type": "ClassLabel"}
    seconds = make_value("float64")
    fields: dict[str, tuple[Any, Any]] = {
        "id": (pa.string(), make_value("string")),
        "frames": (pa.int32(), make_value("int32")),
        "flow": (pa.int32(), make_value("int32")),
        "fps": (pa.float64(), make_value("float64")),
        "width": (pa.int32(), make_value("int32")),
        "height": (pa.int32(), make_value("int32")),
        "subsets": (pa.list_(pa.string()), {"feature": make_value("string"), "_type": "Sequence"}),
    }
    if store.classes:
        span = {"class": class_label, "start": seconds, "end": seconds}
        fields["labels"] = pa.list_(SPAN), [span]
    ids = (id for record in records for id, _, _ in record.videos)
    rows = [describe_video(store[id], store.classes) for id in ids]
    table = pa.Table.from_pylist(rows, add_features(fields, {}))
    temporary = path.with_name(path.name + ".part")
    pq.write_table(table, temporary)
    temporary.replace(path)
