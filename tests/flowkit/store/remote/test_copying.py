"""Copies of stores: between folders and object storage, interrupted anywhere."""

import errno
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from flowkit.errors import CorruptError, FormatError, StoreError, UsageError
from flowkit.store import Store
from flowkit.store.integrity.verify import verify
from flowkit.store.remote import store_files
from flowkit.store.remote.copying import copy_store

IDS = ["a", "b/ü #1", "c", "d"]


@pytest.fixture
def local(make_store) -> Path:
    root = make_store(IDS, frames=4, per_shard=2)
    (root / "failures.jsonl").write_text('{"id": "e"}\n')
    return root


def read_folder(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    }


def test_up_and_down_again(local, s3, tmp_path):
    url = "s3://bucket/some/where"
    report = copy_store(local, url)
    assert (report.shards, report.copied) == (2, 2)
    prefix = "some/where/"
    assert {k.removeprefix(prefix): v for k, v in s3.objects.items()} == read_folder(local)
    assert verify(url).clean
    assert copy_store(url, tmp_path / "back").copied == 2
    assert read_folder(tmp_path / "back") == read_folder(local)
    assert verify(tmp_path / "back", deep=True).clean
    assert copy_store(url, tmp_path / "back").copied == 0
    assert copy_store(tmp_path / "back", url).copied == 0


def test_from_url_to_url_and_over_http(local, s3, tmp_path):
    copy_store(local, "s3://bucket/one")
    copy_store("s3://bucket/one", "s3://bucket/two")
    copy_store(f"{s3.address}/bucket/two", tmp_path / "three")
    assert read_folder(tmp_path / "three") == read_folder(local)
    with pytest.raises(UsageError, match="flowkit only reads here; copy to s3://"):
        copy_store(local, f"{s3.address}/bucket/four")


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Ends a copy before its n-th change of the target."""

    def __init__(self, monkeypatch, kind: type, n: int) -> None:
        self.left = n
        for name in ("write", "take", "delete"):
            monkeypatch.setattr(kind, name, self.wrap(getattr(kind, name)))

    def wrap(self, method):
        def change(files, *arguments):
            if self.left == 0:
                raise Killed
            self.left -= 1
            return method(files, *arguments)

        return change


@pytest.mark.parametrize("kind", ["folder", "url"])
def test_killed_before_each_change(local, s3, tmp_path, kind):
    classes = {"folder": store_files.FolderFiles, "url": store_files.UrlFiles}
    for n in range(30):
        s3.objects.clear()
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        target = tmp_path / "copy" if kind == "folder" else "s3://bucket/copy"
        with pytest.MonkeyPatch.context() as patch:
            Killer(patch, classes[kind], n)
            try:
                copy_store(local, target)
            except Killed:
                pass
            else:
                break
        if n and not has_header(target, s3):
            with pytest.raises(StoreError, match="copied half; run the same `flowkit copy SOURCE"):
                Store(target)
        elif n:
            assert list(Store(target)) == IDS
        copy_store(local, target)
        assert read_copy(target, s3) == read_folder(local), n
    assert n > 8


def has_header(target, s3) -> bool:
    return "store.json" in read_copy(target, s3)


def read_copy(target, s3) -> dict[str, bytes]:
    if isinstance(target, Path):
        return read_folder(target)
    return {name.removeprefix("copy/"): content for name, content in s3.objects.items()}


def test_killed_within_a_shard(local, tmp_path, monkeypatch):
    monkeypatch.setattr(store_files, "check_digest", lambda *_: (_ for _ in ()).throw(Killed()))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # a kill cleans nothing up
    with pytest.raises(Killed):
        copy_store(local, tmp_path / "copy")
    monkeypatch.undo()
    assert list((tmp_path / "copy/frames").glob("*.copy"))
    copy_store(local, tmp_path / "copy")
    assert read_folder(tmp_path / "copy") == read_folder(local)


def test_uploads_in_parts(local, s3, monkeypatch):
    from flowkit.store.remote import obstore_client

    monkeypatch.setattr(obstore_client, "PART_BYTES", 5 << 20)
    shard = next((local / "frames").glob("*.arrow"))
    assert shard.stat().st_size < 5 << 20
    client = obstore_client.ObstoreClient("s3://bucket/x")
    big = local / "big"
    big.write_bytes(bytes(range(256)) * 50_000)
    client.upload(big, "big")
    assert s3.objects["x/big"] == big.read_bytes()
    assert s3.count("POST") == 2


@pytest.mark.parametrize("kind", ["reset", "503", "truncate"])
def test_passing_faults(local, s3, tmp_path, kind):
    faults = iter(range(10**6))
    s3.fault = lambda method, key: kind if next(faults) % 4 == 1 else None
    copy_store(local, "s3://bucket/copy")
    copy_store("s3://bucket/copy", tmp_path / "back")
    assert read_folder(tmp_path / "back") == read_folder(local)


def test_a_damaged_shard_is_not_copied(local, s3, tmp_path):
    shard = next((local / "frames").glob("*.arrow"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    for target in ("s3://bucket/copy", tmp_path / "copy"):
        with pytest.raises(CorruptError, match=r"is not copied; run `flowkit verify"):
            copy_store(local, target)
    assert f"copy/frames/{shard.name}" not in s3.objects
    assert not (tmp_path / "copy/frames" / shard.name).exists()


@pytest.mark.parametrize("target", ["folder", "url"])
def test_a_shard_that_cannot_be_read_is_named(local, s3, tmp_path, monkeypatch, target):
    class BadDisk(io.FileIO):
        def readinto(self, buffer):
            raise OSError(errno.EIO, "Input/output error")

        read = readinto

    def open_file(path, mode="r", *arguments, **options):
        is_shard = path.suffix == ".arrow" and path.parent == local / "frames"
        return BadDisk(path) if is_shard else open_before(path, mode, *arguments, **options)

    open_before = Path.open
    monkeypatch.setattr(Path, "open", open_file)
    copy = tmp_path / "copy" if target == "folder" else "s3://bucket/copy"
    with pytest.raises(StoreError, match=rf"cannot read {local}/frames/.*\.arrow: Input/output"):
        copy_store(local, copy)
    assert not list(tmp_path.glob("copy/*/*.arrow*"))


def test_shards_that_are_gone(local, s3):
    copy_store(local, "s3://bucket/copy")
    extra = next((local / "frames").glob("*.json"))
    from flowkit.store import rebuild_index

    extra.unlink()
    extra.with_suffix(".arrow").unlink()
    rebuild_index(local, scratch=True)
    with pytest.raises(UsageError, match=r"has 1 shards that .* has not.*--delete"):
        copy_store(local, "s3://bucket/copy")
    assert copy_store(local, "s3://bucket/copy", delete=True).deleted == 1
    assert {k.removeprefix("copy/"): v for k, v in s3.objects.items()} == read_folder(local)


def test_what_cannot_be_copied(local, s3, tmp_path, make_store):
    with pytest.raises(FormatError, match=r"found no store.json"):
        copy_store(tmp_path / "nothing", "s3://bucket/x")
    with pytest.raises(UsageError, match="expected a copy outside of"):
        copy_store(local, local / "inside")
    s3.objects["x/photo.jpg"] = b""
    with pytest.raises(StoreError, match=r"expected a store or nothing, found 'photo.jpg'"):
        copy_store(local, "s3://bucket/x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/photo.jpg").touch()
    with pytest.raises(FormatError, match=r"holds 'photo.jpg'"):
        copy_store(local, tmp_path / "other")
    copy_store(local, "s3://bucket/y")
    header = json.loads(s3.objects["y/store.json"]) | {"created": "2001-01-01T00:00:00Z"}
    s3.objects["y/store.json"] = json.dumps(header).encode()
    with pytest.raises(StoreError, match="found another one"):
        copy_store(local, "s3://bucket/y")
    (local / "index.arrow").unlink()
    with pytest.raises(StoreError, match=re.escape(f"make it with `flowkit index {local}`")):
        copy_store(local, "s3://bucket/z")
    assert not any(name.startswith("z/") for name in s3.objects)


def test_files_and_folders_that_cannot_be_read(local, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FormatError, match=r"file: expected a store's folder, got a file"):
        copy_store(local, tmp_path / "file")
    with pytest.raises(FormatError, match=r"file: expected a store, found no store.json"):
        copy_store(tmp_path / "file", tmp_path / "copy")
    (tmp_path / "odd/store.json").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot read .*odd/store\.json: Is a directory; check"):
        copy_store(tmp_path / "odd", tmp_path / "copy")
