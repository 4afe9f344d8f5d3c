import json
import os
from contextlib import contextmanager

import pyarrow as pa
import pytest

from flowkit.errors import CorruptError
from flowkit.store import ShardWriter, create_or_open
from flowkit.store.format.layout import (
    column_crc,
    locate_columns,
    read_footer,
    read_message,
    scan_messages,
)
from flowkit.store.format.schema import BATCH_KEY, shard_columns


@contextmanager
def opened(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def fill_frames(writer, stores):
    stores.put(writer, "a", stores.draw_rows(1, 5))
    stores.put(writer, "long", stores.draw_rows(2, 1500))
    stores.put(writer, "rgb only", [(b"x", None, None), (b"", None, None)])
    stores.put(writer, "empty", [(b"", b"", b"")])


def fill_audio(writer, stores):
    for patches in (0, 3, 1):
        stores.put_audio(writer, f"v{patches}", patches)


def fill_features(writer, stores):
    for id in "ab":
        stores.put_features(writer, id, stores.draw_features(1, 3))


CASES = {"frames": fill_frames, "audio": fill_audio, "features/net": fill_features}


@pytest.fixture(params=CASES)
def shard(request, tmp_path, stores):
    folder = request.param
    create_or_open(tmp_path, stores.RECIPE)
    writer = ShardWriter(tmp_path, folder, recipe=stores.RECIPE)
    CASES[folder](writer, stores)
    return tmp_path / f"{writer.close().name}.arrow", shard_columns(folder)


def test_positions_are_those_of_arrow(shard):
    path, columns = shard
    with opened(path) as descriptor, pa.memory_map(str(path)) as mapped:
        base = pa.py_buffer(mapped.read_buffer(1)).address
        reader = pa.ipc.open_file(mapped)
        blocks = read_footer(descriptor)
        assert len(blocks) == reader.num_record_batches > 0
        for number, block in enumerate(blocks):
            message = read_message(descriptor, block)
            batch, metadata = reader.get_batch_with_custom_metadata(number).__iter__()
            assert message.rows == batch.num_rows
            assert message.metadata[BATCH_KEY].encode() == metadata[BATCH_KEY]
            extents = locate_columns(block, message, columns)
            for column, extent in zip(columns, extents, strict=True):
                array = batch.column(column.name)
                buffers = array.buffers()
                assert extent.nulls == array.null_count
                _, _, offsets, values = column.layout
                if offsets is not None:
                    assert extent.offsets_position == buffers[offsets].address - base
                if extent.values_bytes:
                    assert extent.values_position == buffers[values].address - base
                    assert extent.values_bytes == buffers[values].size


def test_checksums_are_those_of_the_metadata(shard):
    path, columns = shard
    with opened(path) as descriptor:
        for block in read_footer(descriptor):
            message = read_message(descriptor, block)
            wanted = json.loads(message.metadata[BATCH_KEY])["crc32"]
            extents = locate_columns(block, message, columns)
            found = [column_crc(descriptor, extent) for extent in extents]
            assert dict(zip([column.name for column in columns], found, strict=True)) == wanted
            assert block.position % 8 == block.header_bytes % 8 == 0


def test_a_scan_finds_what_the_footer_lists(shard):
    path, _ = shard
    with opened(path) as descriptor:
        found = [block for block, message in scan_messages(descriptor) if message.kind == 3]
        assert found == read_footer(descriptor)


def test_a_scan_of_a_cut_file_finds_the_whole_batches(shard, tmp_path):
    path, _ = shard
    data = path.read_bytes()
    with opened(path) as descriptor:
        ends = [b.position + b.header_bytes + b.body_bytes for b, _ in scan_messages(descriptor)]
    cut = tmp_path / "cut"
    for length in sorted(
        {*ends, *(end - 1 for end in ends), 0, 3, 8, 9, *range(0, len(data), 997)}
    ):
        cut.write_bytes(data[:length])
        with opened(cut) as descriptor:
            assert len(list(scan_messages(descriptor))) == sum(end <= length for end in ends)
            if length < len(data):
                with pytest.raises(CorruptError, match="expected"):
                    read_footer(descriptor)


def test_flipped_bytes_never_crash_it(shard, tmp_path):
    """Every byte of headers and footer, in turn; the values are the checksums' business."""
    path, columns = shard
    data = path.read_bytes()
    with opened(path) as descriptor:
        blocks = read_footer(descriptor)
    headers = [
        k for b in blocks[:2] for k in range(b.position, b.position + min(b.header_bytes, 200))
    ]
    footer = range(blocks[-1].position + blocks[-1].header_bytes + blocks[-1].body_bytes, len(data))
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    with bad.open("r+b") as file:
        for position in [*headers, *footer, *range(8)]:
            for value in (0, 255, data[position] ^ 1):
                file.seek(position)
                file.write(bytes([value]))
                file.flush()
                survive(file.fileno(), bad, columns)
            file.seek(position)
            file.write(data[position : position + 1])


def survive(descriptor, path, columns):
    list(scan_messages(descriptor))
    try:
        for block in read_footer(descriptor):
            locate_columns(block, read_message(descriptor, block), columns)
    except CorruptError:
        pass
