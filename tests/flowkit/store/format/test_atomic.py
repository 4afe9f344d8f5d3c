import errno
import os

import pytest

from flowkit.errors import DiskFullError, StoreError
from flowkit.store.format.atomic import convert_disk_errors, sync_folder, write_atomic


def test_replaces_or_keeps(stores, tmp_path, monkeypatch):
    path = tmp_path / "file"
    states = stores.snapshots(monkeypatch, tmp_path, tmp_path.parent / "s", lambda: (
        write_atomic(path, b"one"),
        write_atomic(path, b"two"),
    ))  # fmt: skip
    found = [
        (state / "file").read_bytes() if (state / "file").exists() else None for state in states
    ]
    assert set(found) == {None, b"one", b"two"}
    assert found == sorted(found, key=[None, b"one", b"two"].index)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk(tmp_path, monkeypatch, code):
    path = tmp_path / "file"
    write_atomic(path, b"one")

    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="MB free"):
        write_atomic(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, DiskFullError), (errno.EIO, StoreError)]
)
def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch, code, expected):
    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("flowkit.store.format.atomic.os.fsync", fail)
    with pytest.raises(expected) as error:
        sync_folder(tmp_path)
    assert type(error.value) is expected
    assert str(tmp_path) in str(error.value)


def test_other_errors(tmp_path):
    with pytest.raises(StoreError, match="check the disk") as caught:
        write_atomic(tmp_path, b"")
    assert not isinstance(caught.value, DiskFullError)
    with pytest.raises(ZeroDivisionError), convert_disk_errors(tmp_path):
        _ = 1 / 0
