"""What is the URL of a store, what is a folder, and what is neither."""

import errno
import json
from pathlib import Path

import pytest

from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.store import Store
from flowkit.store.format.location import find_url, read_mirror_url, read_working_url


@pytest.mark.parametrize("kind", [str, Path])
def test_urls_are_told_from_folders(kind):
    assert find_url(kind("s3://bucket/a/")) == "s3://bucket/a"
    assert find_url(kind("S3://bucket/A")) == "s3://bucket/A"
    assert find_url(kind("HTTPS://host/a")) == "https://host/a"
    for path in ("stores/a", "/stores/a", "a:b", "a:/b", "2024:/b", "stores/gs://bucket/a", "s3:"):
        assert find_url(kind(path)) is None


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("url", ["gcs://bucket/a", "file:///stores/a", "Swift://a", "ssh+x://h/a"])
def test_urls_of_other_kinds_are_refused_instead_of_taken_for_folders(url, kind, tmp_path):
    with pytest.raises(UsageError, match=r"expected the path of a folder, or a URL .* s3://, .*gs"):
        find_url(kind(url))
    with pytest.raises(UsageError):
        Store(kind(url))


def test_a_folder_whose_name_ends_with_a_colon_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gcs:").mkdir()
    assert find_url(Path("gcs://bucket/a")) is None


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG])
def test_a_store_that_cannot_be_read_is_not_to_be_deleted(tmp_path, monkeypatch, code):
    def fail(path):
        raise OSError(code, "that went wrong")

    monkeypatch.setattr(Path, "read_bytes", fail)
    for read in (Store, read_mirror_url, read_working_url):
        with pytest.raises(StoreError, match=r"cannot read .*json: that went wrong") as caught:
            read(tmp_path)
        assert "delete" not in str(caught.value) and not isinstance(caught.value, CorruptError)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 1}', '{"url": "gcs://bucket/a"}'])
def test_a_damaged_file_with_a_url_is_named(tmp_path, content):
    (tmp_path / "remote.json").write_text(content)
    with pytest.raises(CorruptError, match=r"remote\.json: expected the URL .*delete this folder"):
        read_mirror_url(tmp_path)
    (tmp_path / "remote.json").write_text(json.dumps({"url": "s3://bucket/a"}))
    assert read_mirror_url(tmp_path) == "s3://bucket/a"
