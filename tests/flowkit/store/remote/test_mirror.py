"""The local folder that mirrors the small files of a store on object storage."""

import errno
import os
from pathlib import Path

import pytest

from flowkit.errors import CorruptError, DiskFullError
from flowkit.store.remote import mirror
from flowkit.store.remote.mirror import fetch_shard, find_store_folder


@pytest.fixture
def url(make_store, upload) -> str:
    return upload(make_store([f"video {n}" for n in range(4)], frames=3, per_shard=2))


def list_records(folder: Path) -> list[str]:
    """Return the names of the commit records of a mirror."""
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("frames/*.json")
    )


def test_fetching_a_shard_keeps_the_commit_records_of_the_others(url):
    folder = find_store_folder(url, complete=True)
    records = list_records(folder)
    (folder / f"{records[0]}.json").unlink()  # as if it had been committed since
    fetch_shard(url, folder, records[0])
    assert list_records(folder) == records and len(records) == 2


@pytest.mark.parametrize("gone", [1, 2])
def test_a_complete_refresh_forgets_commit_records_that_are_gone(url, s3, gone):
    folder = find_store_folder(url, complete=True)
    records = list_records(folder)
    for name in [name for name in s3.objects if name.endswith(".json") and "/frames/" in name]:
        if Path(name).stem in {Path(record).name for record in records[:gone]}:
            del s3.objects[name]
    assert list_records(find_store_folder(url, complete=True)) == records[gone:]


def test_a_full_disk_is_named_when_a_shard_is_fetched(url, monkeypatch):
    folder = find_store_folder(url, complete=True)
    name = list_records(folder)[0]

    def fill_disk(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mirror, "download", fill_disk)
    with pytest.raises(DiskFullError, match=f"{name}.arrow"):
        fetch_shard(url, folder, name)
    assert not list(folder.glob("frames/*.part"))


def test_a_fetched_shard_can_be_read_by_others(url):
    folder = find_store_folder(url, complete=True)
    name = list_records(folder)[0]
    mask = os.umask(0o022)
    try:
        assert fetch_shard(url, folder, name).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)


def test_a_shard_that_its_record_does_not_describe_is_refused(url, s3):
    folder = find_store_folder(url, complete=True)
    name = list_records(folder)[0]
    key = next(key for key in s3.objects if key.endswith(f"{name}.arrow"))
    s3.objects[key] = s3.objects[key][:-1] + b"?"
    with pytest.raises(CorruptError, match="copy it again"):
        fetch_shard(url, folder, name)
    assert not list(folder.glob("frames/*.part"))
