"""Several processes read one remote store at once, through one cache folder."""

import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flowkit.datasets.snippets import SnippetDataset
from flowkit.errors import CorruptError, StoreError
from flowkit.store import Store

IDS = [f"video {n}" for n in range(8)]
OPTIONS = {"num_segments": 2, "flow_length": 2, "as_bytes": True}
READER = """
import hashlib, sys, time
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from flowkit.datasets.snippets import SnippetDataset

store, folder, name = sys.argv[1:]
dataset = SnippetDataset(store, "train", num_segments=2, flow_length=2, as_bytes=True)
digest = hashlib.sha256()
(Path(folder) / name).touch()
end = time.monotonic() + 60
while len(list(Path(folder).iterdir())) < 2 and time.monotonic() < end:  # for the other process
    time.sleep(0.005)
for _ in range(2):
    for sample in DataLoader(dataset, None, num_workers=2, multiprocessing_context="fork"):
        for key in sorted(sample):
            digest.update(np.asarray(sample[key]).tobytes())
print(digest.hexdigest())
"""


@pytest.fixture
def local(make_store) -> Path:
    return make_store(IDS, frames=12, width=160, height=120, per_shard=2)


def start_reader(store: str, folder: Path, name: str) -> subprocess.Popen:
    command = [sys.executable, "-c", READER, store, str(folder), name]
    paths = {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    return subprocess.Popen(
        command, env={**os.environ, **paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def finish(reader: subprocess.Popen) -> str:
    output, error = reader.communicate(timeout=300)
    assert reader.returncode == 0, error
    return output.strip()


def digest_epochs(root: Path) -> str:
    dataset, digest = SnippetDataset(root, "train", **OPTIONS), hashlib.sha256()
    for n in [*range(len(dataset))] * 2:
        sample = dataset[n]
        for key in sorted(sample):
            digest.update(np.asarray(sample[key]).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("size", ["200KB", pytest.param("1GB", marks=pytest.mark.slow)])
def test_two_processes_with_loader_workers_share_a_cache(
    local, upload, s3, tmp_path, monkeypatch, size
):
    monkeypatch.setenv("FLOWKIT_CACHE_SIZE", size)  # the small one is evicted from all the time
    url, folder, expected = upload(local), tmp_path / "ready", digest_epochs(local)
    folder.mkdir()
    readers = [start_reader(url, folder, name) for name in "ab"]
    assert [finish(reader) for reader in readers] == [expected, expected]
    reads = s3.count("GET", ".arrow") - s3.count("GET", "index.arrow")
    assert reads > 0
    if size == "1GB":  # what the two have read is there for a third
        assert finish(start_reader(url, folder, "c")) == expected
        assert s3.count("GET", ".arrow") - s3.count("GET", "index.arrow") == reads


@pytest.mark.parametrize("workers", [0, 2])
def test_an_object_that_is_deleted_during_an_epoch(local, upload, s3, monkeypatch, workers):
    from torch.utils.data import DataLoader

    monkeypatch.setenv("FLOWKIT_CACHE_SIZE", "0")
    url = upload(local)
    remote, expected = (SnippetDataset(s, "train", **OPTIONS) for s in (url, local))
    loader = DataLoader(remote, None, num_workers=workers, prefetch_factor=1 if workers else None,
                        multiprocessing_context="fork" if workers else None)  # fmt: skip

    def read_epoch():
        for n, sample in enumerate(loader):
            assert (sample["rgb"] == expected[n]["rgb"]).all()  # right, or none at all
            for name in [name for name in s3.objects if re.search(r"/frames/.*arrow", name)]:
                del s3.objects[name]

    with pytest.raises(CorruptError, match=r"s3://.*\.arrow: expected a committed shard, found no"):
        read_epoch()


def test_a_region_that_answers_slowly(local, upload, s3):
    url, at_once, most = upload(local), [], []

    def wait(method, key):
        at_once.append(key)
        most.append(len(at_once))
        time.sleep(0.1)
        at_once.pop()

    s3.fault = wait
    remote, expected = (SnippetDataset(s, "train", **OPTIONS) for s in (url, local))
    keys = [(0, n) for n in range(len(remote))]
    batch, right = remote.batch(keys), expected.batch(keys)
    assert all((batch[key] == right[key]).all() for key in right)
    assert max(most) >= 4  # requests wait side by side


def test_a_bucket_in_another_region(s3):
    s3.fault = lambda method, key: "301"
    with pytest.raises(StoreError, match=r"the bucket is in another region; set AWS_REGION"):
        Store("s3://bucket/store")
