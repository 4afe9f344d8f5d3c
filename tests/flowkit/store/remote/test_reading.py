"""Stores on object storage give the same as the folder they were copied from."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from flowkit.datasets.snippets import SnippetDataset
from flowkit.errors import CorruptError, FormatError, StoreError
from flowkit.store import Store, rebuild_index

IDS = [f"video {n}/ü#{n}" for n in range(6)]


@pytest.fixture
def local(make_store) -> Path:
    return make_store(
        IDS, frames=12, width=160, height=120, per_shard=2, times=lambda t: 40_000 * t
    )


def test_everything_is_the_same(local, upload, s3):
    url = upload(local)
    remote, expected = Store(url), Store(local)
    assert remote.location == url and repr(remote) == f"Store({url!r}: 6 videos)"
    assert list(remote) == list(expected) and remote.recipe == expected.recipe
    for id in IDS:
        a, b = remote[id], expected[id]
        assert a.labels == b.labels and a.subsets == b.subsets
        assert a.times().tolist() == b.times().tolist()
        for t in range(b.num_flow - 2):
            assert a.snippet(t, 3) == b.snippet(t, 3)
        assert np.array_equal(a.frames(), b.frames())


def test_path_objects_stand_for_urls(local, upload):
    url = upload(local)
    assert Store(Path(url)).location == url
    assert Store(Store(url).path).location == url  # a mirror


def test_pickled_as_its_url(local, upload, s3):
    url = upload(local)
    store = Store(url)
    data = pickle.dumps(store)
    assert url.encode() in data and len(data) < 400
    s3.forget()
    copy = pickle.loads(data)
    count = len(s3.requests)
    assert copy.version == store.version and len(copy) == 6
    assert len(s3.requests) == count  # the mirror knows the store
    assert copy[0].rgb_bytes(0) == Store(local)[0].rgb_bytes(0)


def test_an_older_mirror_is_refreshed_by_a_pickled_store(local, upload, s3, tmp_path, monkeypatch):
    url = upload(local)
    Store(url)
    old = (Store(url).path / "index.arrow").read_bytes()
    rebuild_index(local, scratch=True)
    (local / "index.arrow").write_bytes(old)
    (local / "annotations.arrow").unlink()
    rebuild_index(local)
    upload(local)
    newer = pickle.dumps(Store(url))
    (Store(url).path / "index.arrow").write_bytes(old)
    assert pickle.loads(newer).index.classes == ()


def test_the_recipe_of_an_older_mirror_is_refreshed_too(local, upload, s3):
    url = upload(local)
    header, index = (
        (Store(url).path / name).read_bytes() for name in ("store.json", "index.arrow")
    )
    newer = json.loads(header)
    newer["recipe"]["flow"] |= {"bound": 15.0}
    (local / "store.json").write_text(json.dumps(newer))
    (local / "annotations.arrow").unlink()
    rebuild_index(local)
    upload(local)
    store = Store(url)
    pickled = pickle.dumps(store)
    (store.path / "store.json").write_bytes(header)
    (store.path / "index.arrow").write_bytes(index)
    copy = pickle.loads(pickled)
    assert copy.index.version == store.version
    assert (copy.bound, copy.recipe) == (15.0, store.recipe)


def test_a_changed_index_is_noticed_when_it_is_opened_again(local, upload):
    url = upload(local)
    assert Store(url).subsets()
    (local / "annotations.arrow").unlink()
    rebuild_index(local)
    upload(local)
    assert not Store(url).subsets()


def test_a_batch_of_samples_needs_few_rounds(local, upload, s3):
    url = upload(local)
    options = {"num_segments": 3, "flow_length": 2, "training": True, "as_bytes": True}
    remote = SnippetDataset(url, "train", **options)
    expected = SnippetDataset(local, "train", **options)
    keys = [(0, n) for n in range(len(expected))]
    waves = count_waves(s3)
    batch = remote.batch(keys)
    assert waves() <= 4  # footers, headers, offsets, images
    assert all(method == "GET" for method, key, _ in s3.requests if "/frames/" in key)
    for name, values in expected.batch(keys).items():
        assert (batch[name] == values).all(), name
    count = len(s3.requests)
    s3.forget()  # a new process, with the cache on disk
    again = SnippetDataset(url, "train", **options).batch(keys)
    assert all((again[name] == batch[name]).all() for name in batch)
    assert {key.rpartition("/")[2] for _, key, _ in s3.requests[count:]} == {
        "store.json", "index.arrow"
    }  # fmt: skip


def test_an_index_that_is_known_is_not_read_again(local, upload, s3):
    url = upload(local)
    Store(url)
    s3.forget()
    count = s3.count("GET", "index.arrow")
    assert len(Store(url)) == len(IDS)
    assert s3.count("GET", "index.arrow") == count
    (Store(url).path / "index.arrow").unlink()
    assert len(Store(url)) == len(IDS)


def count_waves(s3):
    """Count how often ranges were requested after others were answered."""
    from flowkit.store.remote.obstore_client import ObstoreClient

    calls = []
    original = ObstoreClient.read_ranges

    def read_ranges(self, ranges):
        calls.append(len(ranges))
        return original(self, ranges)

    patch = pytest.MonkeyPatch()
    patch.setattr(ObstoreClient, "read_ranges", read_ranges)

    def count() -> int:
        patch.undo()
        return len(calls)

    return count


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers(local, upload, s3, method):
    from torch.utils.data import DataLoader

    url = upload(local)
    options = {"num_segments": 2, "flow_length": 2, "as_bytes": True}
    remote, expected = (
        SnippetDataset(url, "train", **options),
        SnippetDataset(local, "train", **options),
    )
    assert (remote[0]["rgb"] == expected[0]["rgb"]).all()  # obstore runs in this process now
    loader = DataLoader(remote, 2, num_workers=1, multiprocessing_context=method)
    rgb = [sample for batch in loader for sample in batch["rgb"]]
    assert len(rgb) == len(expected)
    assert all((a == expected[n]["rgb"]).all() for n, a in enumerate(rgb))


def test_plain_http(local, upload, s3):
    upload(local)
    store = Store(f"{s3.address}/bucket/stores/one")
    assert store[0].snippet(0, 2) == Store(local)[0].snippet(0, 2)


FAULTS = ["500", "503", "reset", "truncate", 0.05]


@pytest.mark.parametrize("kind", FAULTS)
def test_passing_faults_change_nothing(local, upload, s3, kind):
    url = upload(local)
    faults = iter(range(10**6))
    s3.fault = lambda method, key: kind if next(faults) % 3 == 0 else None
    store, expected = Store(url), Store(local)
    for id in IDS[:3]:
        assert store[id].snippet(1, 2) == expected[id].snippet(1, 2)


def test_lasting_faults_are_one_line(local, upload, s3, monkeypatch):
    from flowkit.store.remote import failures

    monkeypatch.setattr(failures, "ATTEMPTS", 2)
    url = upload(local)
    store = Store(url)
    s3.fault = lambda method, key: "503"
    with pytest.raises(StoreError, match=r"cannot be reached or read .*run the same command again"):
        store[0].rgb_bytes(0)


def test_a_slow_server(local, upload, s3, monkeypatch):
    from flowkit.store.remote import failures

    monkeypatch.setattr(failures, "ATTEMPTS", 2)
    monkeypatch.setenv("FLOWKIT_REMOTE_TIMEOUT", "0.2")
    url = upload(local)
    s3.fault = lambda method, key: 1.0
    with pytest.raises(StoreError, match=r"no answer within 0.2 s.*region.*FLOWKIT_REMOTE_TIMEOUT"):
        Store(url)


def test_wrong_credentials(local, upload, s3, monkeypatch):
    url = upload(local)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    s3.forget()
    with pytest.raises(StoreError, match="access was refused; check AWS_ACCESS_KEY_ID"):
        Store(url)


def test_no_bucket(s3):
    with pytest.raises(
        StoreError, match="s3://other/store: there is no such bucket; check its name"
    ):
        Store("s3://other/store")


def test_no_store(s3):
    with pytest.raises(FormatError, match=r"expected a store, found no store.json; check the URL"):
        Store("s3://bucket/nothing")


def test_a_store_copied_half(local, upload, s3):
    url = upload(local)
    del s3.objects["stores/one/store.json"]
    s3.objects["stores/one/copying.json"] = b"{}"
    with pytest.raises(StoreError, match=f"copied half; run the same `flowkit copy SOURCE {url}`"):
        Store(url)


def test_an_object_that_was_deleted(local, upload, s3):
    store = Store(upload(local))
    assert store[0].rgb_bytes(0)
    for name in [name for name in s3.objects if name.endswith(".arrow") and "frames" in name]:
        del s3.objects[name]
    with pytest.raises(CorruptError, match=r"frames/.*\.arrow: .* found no object: it was deleted"):
        [video.frames() for video in map(store.__getitem__, IDS)]


@pytest.mark.parametrize("change", ["size", "bytes"])
@pytest.mark.parametrize("when", ["before", "while open"])
def test_an_object_that_was_replaced(local, upload, s3, change, when, monkeypatch):
    from flowkit.store.remote import files

    monkeypatch.setattr(files, "MEMORY_PAGES", 1)
    monkeypatch.setenv("FLOWKIT_CACHE_SIZE", "0")
    store = Store(upload(local))
    before = store[0].rgb_bytes(0)
    for name, content in s3.objects.items():
        if "frames" in name and name.endswith(".arrow"):
            changed = bytearray(content)
            changed[len(content) // 2] ^= 255
            s3.objects[name] = bytes(changed) + (b"x" if change == "size" else b"")
    if when == "before":
        s3.forget()
        store = Store(store.location)
    with pytest.raises(CorruptError, match="the object was replaced since it was first read"):
        store[1].frames()
    assert before


def test_a_shard_of_another_size_than_the_index_says(local, upload, s3):
    url = upload(local)
    for name in s3.objects:
        if "frames" in name and name.endswith(".arrow"):
            s3.objects[name] = s3.objects[name][:-8]
    with pytest.raises(CorruptError, match=r"expected .* bytes, as the index says, got"):
        Store(url)[0].rgb_bytes(0)


@pytest.mark.parametrize("when", ["before it is opened", "since it was opened"])
def test_a_shard_whose_footer_has_changed(local, upload, s3, when, monkeypatch):
    monkeypatch.setenv("FLOWKIT_CACHE_SIZE", "0")
    url = upload(local)
    if when == "since it was opened":
        assert Store(url)[0].rgb_bytes(0)
        s3.forget()
    for name, content in s3.objects.items():
        if "frames" in name and name.endswith(".arrow"):
            s3.objects[name] = content[:-1] + b"?"
    with pytest.raises(CorruptError, match=f"run `flowkit verify {url}`") as caught:
        Store(url)[0].rgb_bytes(0)
    assert "--repair" not in str(caught.value)
    assert str(caught.value).count(f"{url}/frames/") == 1


def test_without_obstore(monkeypatch):
    import sys

    from flowkit.errors import UsageError
    from flowkit.store.remote import client

    client._state.reset()
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError, match=r"pip install 'flowkit-video\[remote\]'"):
        Store("s3://bucket/store")


def test_damaged_bytes_are_refused_by_a_store_that_checks_what_is_read(local, upload, s3):
    url, expected = upload(local), Store(local)
    assert Store(url, verify="read")[0].snippet(3, 2) == expected[0].snippet(3, 2)
    location = expected.index.locate("rgb", 0)
    path, extent = expected.shards.locate(*location[:2], "rgb")
    key = next(key for key in s3.objects if key.endswith(path.name))
    content = bytearray(s3.objects[key])
    content[extent.values_position + 20] ^= 1
    damaged = f"{url}-damaged"
    prefix = key.removesuffix(f"frames/{path.name}")
    for name in [name for name in s3.objects if name.startswith(prefix)]:
        s3.objects[f"{prefix[:-1]}-damaged/{name.removeprefix(prefix)}"] = s3.objects[name]
    s3.objects[f"{prefix[:-1]}-damaged/frames/{path.name}"] = bytes(content)
    assert Store(damaged)[0].rgb_bytes(0) != expected[0].rgb_bytes(0)
    checked = Store(damaged, verify="read")[0]
    assert checked.rgb_bytes(1) == expected[0].rgb_bytes(1)
    with pytest.raises(
        CorruptError, match=r"video '.*': s3://.*checksum mismatch in column rgb, row 0"
    ):
        checked.rgb_bytes(0)
