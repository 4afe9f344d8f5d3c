"""Clients other than obstore's own requests: fsspec, a process of its own, another S3 server."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.store.remote.failures import MissingObjectError
from flowkit.store.remote.objects import Range


def test_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec", reason="fsspec comes with torch")
    from flowkit.store.remote.fsspec_client import FsspecClient

    files = fsspec.filesystem("memory")
    files.pipe_file("/data/store/frames/a.arrow", b"0123456789")
    client = FsspecClient("hf://data/store", files, "data/store")
    answers = client.read_ranges([Range("frames/a.arrow", 2, 3), Range("frames/a.arrow", 8, 9)])
    assert [data for data, _ in answers] == [b"234", b"89"]
    assert answers[0][1].size == 10
    assert [*client.list_objects()] == ["frames/a.arrow"]
    assert client.read_object("frames/a.arrow")[0] == b"0123456789"
    with pytest.raises(MissingObjectError):
        client.read_object("none")
    with pytest.raises(StoreError, match="only reads here"):
        client.write_object("x", b"")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A file system that answers from listings until it is told to forget them, as that of HF."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec comes with torch")
    listings = {}

    class Hub(type(fsspec.filesystem("memory"))):
        cachable = False
        store = {}  # noqa: RUF012
        pseudo_dirs = [""]  # noqa: RUF012

        def info(self, path, **options):
            path = self._strip_protocol(path)
            parent = path.rpartition("/")[0]
            if parent not in listings:
                listings[parent] = {entry["name"]: entry for entry in self.ls(parent, detail=True)}
            if path not in listings[parent]:
                raise FileNotFoundError(path)
            return listings[parent][path]

        def invalidate_cache(self, path=None):
            listings.clear()

    files = Hub()
    monkeypatch.setattr("flowkit.store.remote.client.open_hugging_face", lambda url: files)
    monkeypatch.setattr("flowkit.store.remote.client._state.clients", {})
    monkeypatch.setenv("FLOWKIT_CACHE", str(tmp_path / "cache"))
    return files


def push(local, files):
    """Write all files of a store as objects, into datasets/me/s."""
    for path in local.rglob("*.*"):
        files.pipe_file(f"/datasets/me/s/{path.relative_to(local)}", path.read_bytes())


def test_a_reopened_store_on_hugging_face_is_the_new_one(hub, make_store, tmp_path):
    from flowkit.store import Store

    for ids in (("a",), ("a", "b")):
        local = make_store(ids, tmp_path / "-".join(ids))
        push(local, hub)
        assert list(Store("hf://datasets/me/s")) == list(ids)
    assert Store("hf://datasets/me/s")["b"].rgb_bytes(0) == Store(local)["b"].rgb_bytes(0)


def test_a_replaced_shard_on_hugging_face_is_noticed_after_reopening(hub, make_store, monkeypatch):
    from flowkit.store import Store

    monkeypatch.setenv("FLOWKIT_CACHE_SIZE", "0")
    local = make_store(("a",), frames=40, width=320, height=240)
    push(local, hub)
    store = Store("hf://datasets/me/s")
    store["a"].rgb_bytes(0)
    push(local, hub)  # the same bytes, but newer objects
    Store("hf://datasets/me/s")
    with pytest.raises(CorruptError, match="the object was replaced"):
        [store["a"].rgb_bytes(t) for t in range(40)]


def test_hugging_face_without_its_package(monkeypatch):
    from flowkit.store.remote.client import get_client

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match="pip install huggingface_hub"):
        get_client("hf://datasets/me/videos")


def test_a_process_of_its_own(s3):
    from flowkit.store.remote.client_process import ProcessClient

    client = ProcessClient("s3://bucket/x")
    try:
        client.write_object("a", b"0123456789")
        assert s3.objects["x/a"] == b"0123456789"
        assert client.read_ranges([Range("a", 1, 2)])[0][0] == b"12"
        assert client.read_object("a") == (b"0123456789", client.find_state("a"))
        assert [*client.list_objects()] == ["a"]
        with pytest.raises(MissingObjectError):
            client.find_state("b")
        client._process.kill()
        client._process.wait()
        with pytest.raises(StoreError, match=r"has ended \(exit code -9\)"):
            client.read_object("a")
    finally:
        client._process.kill()
        client._process.communicate()


def test_moto(make_store, make_clip, tmp_path, monkeypatch, s3):
    """Another server's idea of S3."""
    pytest.importorskip("moto", reason="pip install 'moto[server]': a second S3 server")
    from flowkit.store import Store
    from flowkit.store.remote.copying import copy_store

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(StoreError, match="there is no such bucket"):
            Store("s3://films/store")
        make_bucket(port, "films")
        local = make_store()
        copy_store(local, "s3://films/store")
        assert copy_store(local, "s3://films/store").copied == 0
        assert Store("s3://films/store")[0].snippet(0, 2) == Store(local)[0].snippet(0, 2)
        copy_store("s3://films/store", tmp_path / "back")
        assert list(Store(tmp_path / "back")) == list(Store(local))
        extract_twice("s3://films/more", make_clip(tmp_path / "clips/a.mp4", frames=3))
    finally:
        server.kill()
        server.wait()


def extract_twice(url: str, clip: Path) -> None:
    import flowkit
    from flowkit.errors import LockedError
    from flowkit.extraction import open_target
    from flowkit.store.remote.client import get_client

    def extract(**more):
        return flowkit.extract([clip], url, streams=["rgb"], workers=0, progress=False, **more)

    assert extract().extracted == 1
    assert extract().done_before == 1
    assert not get_client(url).create_object("store.json", b"")  # its conditional requests work
    with open_target(url), pytest.raises(LockedError, match="--break-lock"):
        extract(working_store=clip.with_name("w"))
    assert flowkit.Store(url)["a.mp4"].num_frames == 3


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("moto did not start")


def make_bucket(port: int, name: str) -> None:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port)
    signature = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, Signature=x"
    connection.request("PUT", f"/{name}", headers={"Authorization": signature})
    assert connection.getresponse().status == 200, Path(name)
    connection.close()
