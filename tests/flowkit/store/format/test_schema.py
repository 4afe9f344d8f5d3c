import json
import os
from dataclasses import replace

import pytest

from flowkit.errors import StoreError
from flowkit.store import Fingerprint, VideoMeta
from flowkit.store.format.schema import (
    DIGEST_BYTES,
    arrow_schema,
    encode_json,
    shard_columns,
)


def test_fingerprint_sees_head_middle_tail_and_size(tmp_path):
    path = tmp_path / "a.mp4"
    size = 5 * DIGEST_BYTES
    data = bytearray(size)
    path.write_bytes(data)
    first = Fingerprint.of(path)
    assert first.size == size
    assert len(first.digest) == 32
    for position in (0, size // 2, size - 1):
        changed = bytearray(data)
        changed[position] = 1
        path.write_bytes(changed)
        assert not first.same_content(Fingerprint.of(path))
    path.write_bytes(bytes(size + 1))
    assert not first.same_content(Fingerprint.of(path))


def test_fingerprint_of_a_touched_file_has_the_same_content(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    first = Fingerprint.of(path)
    os.utime(path, ns=(1, 1))
    second = Fingerprint.of(path)
    assert first != second
    assert first.same_content(second)


def test_meta_round_trips_and_ignores_unknown_keys(stores):
    video = stores.meta("a/../ü #🎈", 3, warnings=("x",), provenance={"k": [1]}, supersedes=True)
    assert VideoMeta.from_dict(video.to_dict() | {"later": 1}) == video
    assert "supersedes" not in stores.meta("a", 3).to_dict()


@pytest.mark.parametrize("id", ["", "a\udcff"])
def test_an_id_that_utf8_cannot_hold_is_refused(stores, id):
    with pytest.raises(StoreError):
        stores.meta(id, 1)


def test_a_source_of_other_bytes_is_kept_as_escapes(stores):
    """A path as Python has it under the C locale, and one that is no UTF-8 at all."""
    meta = stores.meta("a", 1)
    native = "/videos/日本語".encode().decode("ascii", "surrogateescape") + "/caf\udce9.mp4"
    kept = replace(meta, source=native, warnings=(f"{native} breaks",))
    assert kept.source == "/videos/日本語/caf\\xe9.mp4"
    assert kept.warnings == ("/videos/日本語/caf\\xe9.mp4 breaks",)
    assert VideoMeta.from_dict(json.loads(encode_json(kept.to_dict()))) == kept


def test_folders():
    assert [field.name for field in arrow_schema("features/x", 5)] == ["vector", "position", "view"]
    assert arrow_schema("audio").field("patch").type.list_size == 96 * 64
    for name in ("features", "features/", "other"):
        with pytest.raises(StoreError, match="features/<name>"):
            shard_columns(name)
    with pytest.raises(StoreError, match="dimension"):
        arrow_schema("features/x")
