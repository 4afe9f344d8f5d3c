"""``Store(path, verify="read")`` refuses damaged bytes that the plain reader returns."""

import pickle
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowkit.errors import CorruptError, UsageError
from flowkit.store import ShardWriter, Store, rebuild_index
from flowkit.store import writer as writer_module
from flowkit.store.format import shard_file
from flowkit.store.format.checksums import decode_row_checksums
from flowkit.store.format.layout import read_footer, read_message
from flowkit.store.format.schema import BATCH_KEY, ROW_CRC_NAME
from flowkit.store.integrity.verify import verify

GOLDEN_STORE = Path(__file__).parents[2] / "golden" / "store"


def flip(path: Path, position: int, bit: int = 1) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)


def locate(root: Path, id: str, stream: str, column: str):
    """Return the shard that holds a video, its column in the first batch, and its first row."""
    store = Store(root)
    shard, batch, row, _ = store.index.locate(stream, store.find(id))
    return *store.shards.locate(shard, batch, column), row


@pytest.fixture
def root(stores, make_root):
    """A store of the videos a and b with every kind of column."""
    root = make_root({"b": stores.draw_rows(2, 6)})
    frames = ShardWriter(root, recipe=stores.RECIPE)
    frames.begin("a")
    for t, (rgb, x, y) in enumerate(stores.draw_rows(1, 9)):
        frames.append(rgb=rgb, flow_x=x, flow_y=y, time=40_000 * t)
    frames.end(stores.meta("a", 9))
    audio = ShardWriter(root, "audio", recipe=stores.RECIPE)
    features = ShardWriter(root, "features/net", recipe=stores.RECIPE)
    for id in ("a", "b"):
        stores.put_audio(audio, id, 3)
        stores.put_features(features, id, stores.draw_features(1, 4))
    for writer in (frames, audio, features):
        writer.close()
    rebuild_index(root)
    return root


def read_rgb(video):
    return video.rgb_bytes(4)


def read_flow(video):
    return video.flow_jpegs(3, 4)


CASES = {
    "RGB": ("rgb", "rgb", "values", read_rgb, "column rgb, row 4"),
    "x of flow": ("flow", "flow_x", "values", read_flow, "column flow_x, row 4"),
    "y of flow": ("flow", "flow_y", "values", read_flow, "column flow_y, row 4"),
    "offset of RGB": ("rgb", "rgb", "offsets", read_rgb, "column rgb, row 4"),
    "offset of flow": ("flow", "flow_y", "offsets", read_flow, "column flow_y, row 3"),
    "time": ("rgb", "time", 8, lambda video: video.times().tolist(), "column time"),
    "audio": ("audio", "patch", 4 * 96 * 64, lambda video: video.audio().tolist(), "column patch"),
    "vector": ("features/net", "vector", 6, lambda v: v.features("net").tolist(), "column vector"),
    "position": (
        "features/net", "position", 4,
        lambda video: video.vectors("features/net", "position").tolist(), "column position",
    ),
}  # fmt: skip
"""Stream, column, what is damaged (or bytes of a row), how to read it, and what is said of it."""


@pytest.mark.parametrize("case", CASES)
def test_a_changed_bit_is_refused(root, case):
    stream, column, damaged, read, place = CASES[case]
    path, extent, row = locate(root, "a", stream, column)
    intact = read(Store(root)["a"])
    assert read(Store(root, verify="read")["a"]) == intact
    if damaged == "values":
        store = Store(root)
        shard, batch, *_ = store.index.locate(stream, store.find("a"))
        start = store.shards._offsets(shard, batch, column)[row + 4]
        flip(path, extent.values_position + start + 3)
    elif damaged == "offsets":
        flip(path, extent.offsets_position + 8 * (row + 4))
    else:
        flip(path, extent.values_position + damaged * (row + 1))
    plain, checked = Store(root), Store(root, verify="read")
    assert read(plain["a"]) != intact
    for _ in range(2):  # it is refused again, not only when a batch is checked
        with pytest.raises(CorruptError, match=r"verify --repair") as error:
            read(checked["a"])
        assert str(error.value).startswith(f"video 'a': {path}: checksum mismatch in {place}")
    assert plain["b"].rgb_bytes(2) == checked["b"].rgb_bytes(2)


def test_other_images_of_a_damaged_batch_are_read(root):
    path, extent, _ = locate(root, "a", "rgb", "rgb")
    flip(path, extent.values_position + 3)  # in frame 0
    video = Store(root, verify="read")["a"]
    assert video.rgb_bytes(1) == Store(root)["a"].rgb_bytes(1)
    with pytest.raises(CorruptError, match=r"row 0 of the video \(batch"):
        video.rgb_bytes(0)


def test_a_store_of_an_older_version_is_checked_by_batches(stores, make_root, monkeypatch):
    monkeypatch.setattr(shard_file, "compute_row_checksums", lambda batch: {})
    monkeypatch.setattr(writer_module, "BATCH_ROWS", 4)
    root = make_root({"a": stores.draw_rows(1, 9)})
    rebuild_index(root)
    path, extent, _ = locate(root, "a", "rgb", "rgb")
    video = Store(root, verify="read")["a"]
    assert [video.rgb_bytes(t) for t in range(9)] == [row[0] for row in stores.draw_rows(1, 9)]
    flip(path, extent.values_position + 3)
    video = Store(root, verify="read")["a"]
    with pytest.raises(CorruptError, match=r"checksum mismatch in column rgb of batch 0"):
        video.rgb_bytes(1)
    assert video.rgb_bytes(4) == stores.draw_rows(1, 9)[4][0]


def test_a_golden_store_without_checksums_of_images():
    plain, checked = Store(GOLDEN_STORE), Store(GOLDEN_STORE, verify="read")
    for id in plain:
        a, b = plain[id], checked[id]
        assert a.rgb_bytes(a.num_frames - 1) == b.rgb_bytes(b.num_frames - 1)
        assert a.flow_jpegs(0, a.num_flow) == b.flow_jpegs(0, b.num_flow)
        assert a.times().tolist() == b.times().tolist()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lengths=st.lists(st.integers(1, 11), min_size=1, max_size=4),
    size=st.integers(3, 90),
    batch_rows=st.integers(1, 5),
)
def test_an_undamaged_store_reads_equal(stores, make_root, lengths, size, batch_rows):
    rows = {f"v{n}": stores.draw_rows(n, length, size) for n, length in enumerate(lengths)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "BATCH_ROWS", batch_rows)
        root = make_root(rows)
    rebuild_index(root)
    store = Store(root, verify="read")
    for id, wanted in rows.items():
        video = store[id]
        assert [video.rgb_bytes(t) for t in range(len(wanted))] == [row[0] for row in wanted]
        for t in range(video.num_flow):
            count = min(4, video.num_flow - t)
            assert video.flow_jpegs(t, count) == [row[1:] for row in wanted[t : t + count]]


def test_damaged_checksums_are_refused_and_repaired(root):
    path, _, _ = locate(root, "a", "rgb", "rgb")
    content = path.read_bytes()
    flip(path, content.index(ROW_CRC_NAME.encode()) + len(ROW_CRC_NAME) + 14)
    with pytest.raises(CorruptError, match="metadata of a batch"):
        Store(root, verify="read")["a"].rgb_bytes(0)
    assert not verify(root).clean


def test_repair_keeps_checksums_of_images(root, stores):
    path, extent, _ = locate(root, "b", "rgb", "rgb")
    flip(path, extent.values_position + 3)
    verify(root, repair=True)
    rebuild_index(root)
    for shard in (root / "frames").glob("*.arrow"):
        with shard.open("rb") as file:
            for block in read_footer(file.fileno()):
                text = read_message(file.fileno(), block).metadata[BATCH_KEY]
                assert '"row_crc32":{"rgb":"' in text
    assert Store(root, verify="read")["a"].rgb_bytes(1) == stores.draw_rows(1, 9)[1][0]


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"rgb": None},
        {"rgb": "AAAA"},
        {"rgb": "?" * 8},
        {"rgb": b64encode(bytes(12)).decode()},
    ],
)
def test_malformed_checksums_of_rows(value):
    with pytest.raises(ValueError):
        decode_row_checksums({ROW_CRC_NAME: value}, 2)


def test_pickled_with_its_checks(root):
    path, extent, _ = locate(root, "a", "rgb", "rgb")
    flip(path, extent.values_position + 3)
    copy = pickle.loads(pickle.dumps(Store(root, verify="read")))
    assert copy.verify == "read"
    with pytest.raises(CorruptError, match="checksum mismatch"):
        copy["a"].rgb_bytes(0)
    assert pickle.loads(pickle.dumps(Store(root))).verify is None


def test_a_worker_of_a_data_loader_refuses_a_damaged_image(make_store):
    data = pytest.importorskip("torch.utils.data")
    from flowkit.datasets.snippets import SnippetDataset

    root = make_store(("a", "b"), width=48, height=32)
    path, extent, _ = locate(root, "b", "flow", "flow_x")
    flip(path, extent.values_position + extent.values_bytes // 2)
    dataset = SnippetDataset(Store(root, verify="read"), "train", 3, flow_length=1)
    with pytest.raises(CorruptError, match=r"video 'b': .*checksum mismatch in column flow_x, row"):
        list(data.DataLoader(dataset, 1, num_workers=1))


def test_another_value_of_verify(root):
    with pytest.raises(UsageError, match=r'expected verify="read" or verify=None, got True'):
        Store(root, verify=True)
