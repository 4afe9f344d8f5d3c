"""The cache on disk: bounded, checked, shared by processes, and no matter if it fails."""

import logging
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.store import Store
from flowkit.store.format.location import REMOTE_FILE
from flowkit.store.remote import mirror
from flowkit.store.remote.objects import ObjectState
from flowkit.store.remote.page_cache import (
    PAGE,
    PageCache,
    evict_files,
    locate_page,
    make_key,
    split_runs,
)
from flowkit.store.remote.shards import fetch_remote_shard

SIZE = 600 * PAGE + 100
KEY = make_key("frames/1234.arrow", ObjectState(SIZE, "tag"))


def make_page(number: int) -> bytes:
    return bytes([number % 251]) * min(PAGE, SIZE - PAGE * number)


def test_pages_come_back(tmp_path):
    cache = PageCache(tmp_path, 1 << 30)
    pages = {number: make_page(number) for number in (0, 1, 255, 256, 599, 600)}
    cache.write(KEY, pages)
    assert PageCache(tmp_path, 1 << 30).read(KEY, SIZE, range(601)) == pages
    assert cache.read(make_key("1234", ObjectState(SIZE, "other")), SIZE, range(601)) == {}


@pytest.mark.parametrize("damage", ["page", "table", "cut", "empty"])
def test_damage_is_never_read(tmp_path, damage):
    cache = PageCache(tmp_path, 1 << 30)
    cache.write(KEY, {n: make_page(n) for n in range(4)})
    path = tmp_path / "pages" / KEY / "0"
    content = bytearray(path.read_bytes())
    if damage == "page":
        content[locate_page(2) + 5] ^= 1
    elif damage == "table":
        content[8] ^= 1
    else:
        content = content[: locate_page(2) + 7] if damage == "cut" else content[:0]
    path.write_bytes(bytes(content))
    found = cache.read(KEY, SIZE, range(4))
    assert found == {n: make_page(n) for n in found} and 2 not in found
    cache.write(KEY, {2: make_page(2)})
    assert cache.read(KEY, SIZE, [2]) == {2: make_page(2)}


def test_it_stays_below_its_limit(tmp_path):
    cache = PageCache(tmp_path, 40 * PAGE)
    for n in range(60):
        key = make_key(f"{n}", ObjectState(SIZE, "tag"))
        cache.write(key, {0: make_page(0)})
        path = tmp_path / "pages" / key / "0"
        os.utime(path, (n, n))
    cache.evict()
    used = sum(512 * path.stat().st_blocks for path in tmp_path.glob("pages/*/*"))
    assert 20 * PAGE < used <= 40 * PAGE
    newest = make_key("59", ObjectState(SIZE, "tag"))
    assert cache.read(newest, SIZE, [0]) == {0: make_page(0)}


def test_a_whole_shard_that_is_used_is_kept(tmp_path, monkeypatch):
    root = tmp_path / "mirrors" / "digest" / "S"
    (root / "frames").mkdir(parents=True)
    (root / REMOTE_FILE).write_text('{"url": "s3://bucket/S"}')
    for seconds, name in enumerate("abc", 1):
        path = root / "frames" / f"{name}.arrow"
        path.write_bytes(bytes(10 * PAGE))
        os.utime(path, (seconds, seconds))
    monkeypatch.setattr(mirror, "get_client", lambda url: None)
    fetch_remote_shard(root, "frames/a")
    evict_files(tmp_path, 15 * PAGE)
    assert [path.stem for path in root.glob("frames/*")] == ["a"]


def test_threads_that_write_read_and_evict(tmp_path):
    caches = [PageCache(tmp_path, 300 * PAGE) for _ in range(4)]
    wrong = []

    def work(cache: PageCache, start: int) -> None:
        for k in range(60):
            numbers = [(start * 37 + k * 11 + i) % 600 for i in range(3)]
            cache.write(KEY, {n: make_page(n) for n in numbers})
            for n, page in cache.read(KEY, SIZE, sorted(numbers)).items():
                if page != make_page(n):
                    wrong.append(n)
            if k % 10 == start:
                cache.evict()

    threads = [threading.Thread(target=work, args=(c, n)) for n, c in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_full_disk_is_said_once(make_store, upload, s3, monkeypatch, caplog):
    from flowkit.store.remote import page_cache

    def write(*_: object) -> int:
        raise OSError(28, "No space left on device")

    local = make_store()
    url = upload(local)
    store = Store(url)
    monkeypatch.setattr(page_cache, "write_all", write)
    with caplog.at_level(logging.WARNING):
        for id in ("a", "c"):
            assert store[id].snippet(0, 2) == Store(local)[id].snippet(0, 2)
    (record,) = caplog.records
    assert "No space left on device" in record.message and "FLOWKIT_CACHE" in record.message


def test_a_cache_that_cannot_be_written(make_store, upload, s3, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLOWKIT_CACHE", str(tmp_path / "file"))
    s3.forget()
    local = make_store()
    store = Store(upload(local))
    assert store["a"].snippet(0, 2) == Store(local)["a"].snippet(0, 2)
    assert "reading on without it" in caplog.text


@given(st.sets(st.integers(0, 300)), st.integers(0, 5), st.integers(1, 40))
def test_runs_cover_all_numbers(numbers, gap, longest):
    runs = split_runs(sorted(numbers), gap, longest)
    covered = [n for run in runs for n in run]
    assert covered == sorted(set(covered)) and numbers <= set(covered)
    assert all(len(run) <= longest and run[0] in numbers and run[-1] in numbers for run in runs)
    if not gap:
        assert set(covered) == numbers


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20e9), ("1.5 T", 1.5e12), ("500mb", 5e8), ("0", 0), ("7", 7), ("7 B", 7),
        ("20GiB", 20 * 1024**3), ("1ki", 1024),
    ],
)  # fmt: skip
def test_sizes(monkeypatch, text, size):
    from flowkit.store.remote.settings import read_cache_size

    monkeypatch.setenv("FLOWKIT_CACHE_SIZE", text)
    assert read_cache_size() == size


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FLOWKIT_CACHE_SIZE", "much"),
        ("FLOWKIT_CACHE_SIZE", "5iB"),
        ("FLOWKIT_REMOTE_TIMEOUT", "-1"),
        ("FLOWKIT_REMOTE_TIMEOUT", "x"),
    ],
)
def test_settings_that_mean_nothing(monkeypatch, name, text):
    from flowkit.errors import UsageError
    from flowkit.store.remote import settings

    monkeypatch.setenv(name, text)
    read = settings.read_cache_size if name == "FLOWKIT_CACHE_SIZE" else settings.read_timeout
    with pytest.raises(UsageError, match=f"{name}: expected"):
        read()


def test_the_folder_of_the_cache_may_be_below_the_home_folder(monkeypatch, tmp_path):
    from flowkit.store.remote.settings import find_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLOWKIT_CACHE", "~/cache")
    assert find_folder() == tmp_path / "cache"
