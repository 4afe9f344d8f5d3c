"""Extraction into a store at a URL: by a working store, interrupted and resumed anywhere."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

import flowkit
from flowkit.annotations import explicit_files
from flowkit.cli import main
from flowkit.errors import DiskFullError, LockedError, StoreError, UsageError
from flowkit.extraction import Options, extract, open_target, uploads
from flowkit.store import Store
from flowkit.store.format.shard_file import HashedFile
from flowkit.store.integrity.verify import verify
from flowkit.store.remote import failures
from flowkit.store.remote.copying import copy_store
from flowkit.store.status import read_status

URL = "s3://bucket/stores/mine"
COUNT = 4


@pytest.fixture
def clips(tmp_path, make_clip) -> list[Path]:
    return [make_clip(tmp_path / f"clips/{n}.mp4", frames=4 + n, seed=n) for n in range(COUNT)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(uploads, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(uploads, "INDEX_SECONDS", 0.0)
    monkeypatch.setattr(uploads, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(uploads, "PATIENCE_SECONDS", 0.1)


@pytest.fixture
def run(clips, recipe):
    """``run(**more)``: extract the clips to the URL, each into a shard of its own."""

    def extract_clips(videos=None, url=URL, limit=None, **more):
        options = Options(workers=0, roll_seconds=0.0, limit=limit)
        with open_target(url, **more) as target:
            located = explicit_files(videos or clips)
            return extract(located, target.root, recipe, options, uploads=target.uploads)

    return extract_clips


@pytest.fixture
def expected(clips, recipe, tmp_path, contents):
    root = tmp_path / "local"
    extract(explicit_files(clips), root, recipe, Options(workers=0, roll_seconds=0.0))
    return contents(root)


def find_working(tmp_path: Path) -> Path:
    (path,) = tmp_path.glob("cache/working/*/mine")
    return path


def test_the_store_at_the_url_is_that_of_a_folder(run, s3, expected, contents, tmp_path):
    summary = run()
    assert summary.extracted == COUNT and summary.store == URL
    assert contents(URL) == expected
    assert verify(URL, deep=True).clean
    working = find_working(tmp_path)
    assert verify(working, deep=True).clean
    assert not list(working.rglob("*.arrow.*")) and not list(working.glob("frames/*.arrow"))
    assert len(list(working.glob("frames/*.uploaded"))) == COUNT
    assert "stores/mine/writing.json" not in s3.objects
    before = dict(s3.objects)
    assert run().done_before == COUNT
    assert s3.objects == before
    copy_store(URL, tmp_path / "copy")
    assert contents(tmp_path / "copy") == expected and verify(tmp_path / "copy", deep=True).clean


def test_another_machine_continues(run, s3, expected, contents, tmp_path):
    assert run(limit=2).extracted == 2
    assert len(Store(URL)) == 2
    shutil.rmtree(tmp_path / "cache")
    s3.requests.clear()
    summary = run()
    assert (summary.done_before, summary.extracted) == (2, COUNT - 2)
    assert s3.count("GET", ".arrow") == s3.count("GET", "index.arrow")  # no shard was downloaded
    s3.forget()
    assert contents(URL) == expected and verify(URL).clean


class Recorder:
    """Copies of the objects and of the working store before each change of the objects."""

    def __init__(self, s3, tmp_path):
        self.moments, self.s3, self.tmp_path = [], s3, tmp_path
        s3.fault = self.record

    def record(self, method, key):
        if method in ("PUT", "POST", "DELETE"):
            folder = self.tmp_path / f"moment{len(self.moments)}"
            for path in (self.tmp_path / "cache/working").rglob("*"):
                with suppress(OSError):  # renamed or deleted meanwhile
                    copy = folder / path.relative_to(self.tmp_path / "cache/working")
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    if path.is_file():
                        shutil.copyfile(path, copy)
            self.moments.append((dict(self.s3.objects), folder))


@pytest.mark.parametrize("machine", ["same", "other"])
def test_killed_before_each_change_of_the_url(run, s3, expected, contents, tmp_path, machine):
    recorder = Recorder(s3, tmp_path)
    run()
    s3.fault = lambda method, key: None
    assert len(recorder.moments) >= 2 * COUNT + 5
    for objects, folder in recorder.moments[:: 2 if machine == "same" else 4]:
        s3.objects.clear()
        s3.objects.update(objects)
        shutil.rmtree(tmp_path / "cache")
        s3.forget()
        if "stores/mine/store.json" in objects:  # what readers see at this moment
            found = contents(URL)
            assert found == {id: expected[id] for id in found}
            assert verify(URL).clean
            s3.forget()
        if machine == "same":
            shutil.copytree(folder, tmp_path / "cache/working")
        summary = run(break_lock=machine == "other")
        done = sum(name.startswith("stores/mine/frames/") for name in objects) // 2
        assert summary.done_before >= done and not summary.failed
        s3.forget()
        assert contents(URL) == expected and verify(URL).clean


def test_uploads_that_fail_lose_nothing(run, s3, expected, contents, tmp_path, monkeypatch):
    monkeypatch.setattr(failures, "ATTEMPTS", 1)
    monkeypatch.setenv("FLOWKIT_REMOTE_TIMEOUT", "0.2")
    s3.forget()
    s3.fault = lambda method, key: "503" if method != "GET" and "/frames/" in key else None
    with pytest.raises(StoreError) as caught:
        run()
    working = find_working(tmp_path)
    waiting = len(list(working.glob("frames/*.arrow")))
    text = f"Nothing is lost: {waiting} shards wait in {working}, and the same command uploads"
    assert waiting and text in str(caught.value) and "\n" not in str(caught.value)
    assert len(Store(URL)) == 0 and "stores/mine/writing.json" not in s3.objects
    s3.fault = lambda method, key: None
    s3.forget()
    assert run().done_before >= waiting
    assert contents(URL) == expected and verify(URL).clean


def test_a_full_disk(run, s3, expected, contents, tmp_path, monkeypatch):
    write, left = HashedFile.write, 40_000

    def fill(self, data):
        nonlocal left
        left -= len(memoryview(data).cast("B"))
        if left < 0:
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(HashedFile, "write", fill)
    with pytest.raises(DiskFullError, match=rf"disk full while writing {tmp_path}/cache/working"):
        run()
    monkeypatch.setattr(HashedFile, "write", write)
    assert run().done_before >= 1
    assert contents(URL) == expected and verify(URL).clean


@pytest.mark.parametrize("kind", ["503", "reset", "truncate"])
def test_passing_faults(run, s3, expected, contents, kind):
    faults = iter(range(10**6))
    s3.fault = lambda method, key: kind if next(faults) % 3 == 1 else None
    run()
    s3.fault = lambda method, key: None
    assert contents(URL) == expected and verify(URL).clean


def test_one_writer_at_a_time(run, s3, expected, contents, tmp_path):
    run(limit=1)
    copy_store(URL, tmp_path / "copy")
    with open_target(URL, working_store=tmp_path / "one"):
        assert read_status(URL).running == ["0/1"]
        started = json.loads(s3.objects["stores/mine/writing.json"])
        with pytest.raises(LockedError, match=rf"process {started['process']} on .* --break-lock"):
            run()
        with pytest.raises(LockedError, match=r"another process extracts to s3://.* from this"):
            run(working_store=tmp_path / "one")
        with pytest.raises(LockedError, match="is writing to it"):
            copy_store(tmp_path / "copy", URL)
    assert "stores/mine/writing.json" not in s3.objects
    s3.objects["stores/mine/writing.json"] = b"damaged"
    with pytest.raises(LockedError, match="but another run is writing to it; wait for it, or"):
        run()
    run(break_lock=True)
    assert contents(URL) == expected


@pytest.mark.parametrize("has_conditions", [True, False])
def test_two_that_start_at_once(s3, tmp_path, monkeypatch, has_conditions):
    from flowkit.store.remote.obstore_client import ObstoreClient

    s3.has_conditions = has_conditions
    create = ObstoreClient.create_object

    def create_second(self, name, content):
        is_created = create(self, name, content)
        create(self, name, b'{"owner": "other"}')  # in the same moment
        return is_created

    monkeypatch.setattr(ObstoreClient, "create_object", create_second)
    if has_conditions:  # the first one wins
        with open_target(URL):
            pass
    else:  # the second one has replaced the object of the first
        with pytest.raises(LockedError, match="another run is writing"), open_target(URL):
            pass


def test_a_lock_that_is_taken_away_ends_the_run(run, s3, tmp_path):
    def take_away(method, key):
        if method == "PUT" and key.endswith(".arrow") and "/frames/" in key:
            s3.objects["stores/mine/writing.json"] = b'{"process": 1, "host": "h", "since": "t"}'

    s3.fault = take_away
    with pytest.raises(
        LockedError, match=r"replaced by process 1 on h .*Nothing is lost: \d shards"
    ):
        run()
    assert json.loads(s3.objects["stores/mine/writing.json"])["host"] == "h"


def test_what_is_found_before_the_first_video(run, s3, tmp_path, monkeypatch, make_store):
    with pytest.raises(StoreError, match="there is no such bucket; check its name"):
        run(url="s3://other/store")
    with pytest.raises(UsageError, match="flowkit only reads here; extract to s3://"):
        run(url=f"{s3.address}/bucket/x")
    with pytest.raises(UsageError, match=r"--shard writes to folders.*flowkit copy FOLDER"):
        run(part=(0, 2))
    with pytest.raises(UsageError, match="are for a store at a URL, got"):
        run(url=tmp_path / "store", working_store=tmp_path / "w")
    with pytest.raises(UsageError, match=r"expected the working store of .* or an empty folder"):
        run(working_store=make_store(("a",)))
    with open_target("s3://bucket/two", working_store=tmp_path / "two"):
        pass
    with pytest.raises(UsageError, match="is the working store of s3://bucket/two, expected"):
        run(working_store=tmp_path / "two")
    s3.objects["photos/a.jpg"] = b""
    with pytest.raises(StoreError, match=r"expected a store or nothing, found 'a\.jpg'"):
        run(url="s3://bucket/photos")
    s3.objects["half/copying.json"] = b"{}"
    with pytest.raises(StoreError, match="a store copied half"):
        run(url="s3://bucket/half")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    s3.forget()
    with pytest.raises(StoreError, match="access was refused; check AWS_ACCESS_KEY_ID"):
        run()
    assert not any("frames" in name for name in s3.objects)


def test_credentials_that_may_only_read(run, s3):
    s3.fault = lambda method, key: "403" if method != "GET" else None
    with pytest.raises(StoreError, match=r"writing.json: access was refused; check AWS_ACC"):
        run()


def test_a_shard_that_is_gone_at_the_url(run, s3, expected, contents):
    run()
    name = next(name for name in s3.objects if re.search("/frames/.*arrow", name))
    record = name.replace(".arrow", ".json")
    del s3.objects[name]
    with pytest.raises(StoreError, match=r"found no object; restore it, or delete s3://.*\.json"):
        run()
    del s3.objects[record]
    summary = run()
    assert (summary.extracted, summary.done_before) == (1, COUNT - 1)
    s3.forget()
    assert contents(URL) == expected and verify(URL).clean


def test_another_store_at_the_same_url(run, s3, tmp_path, expected, contents):
    run(limit=1)
    header = json.loads(s3.objects["stores/mine/store.json"]) | {"created": "2001-01-01T00:00:00Z"}
    s3.objects["stores/mine/store.json"] = json.dumps(header).encode()
    with pytest.raises(StoreError, match="one of an earlier store at that URL; delete this folder"):
        run()
    s3.objects.clear()  # a store that was deleted is made again
    assert run().extracted == COUNT
    s3.forget()
    assert contents(URL) == expected


def test_changed_and_failed_videos_from_two_machines(s3, tmp_path, make_clip):
    folder, settings = tmp_path / "clips", {"size": (32, 32), "workers": 0, "progress": False}
    make_clip(folder / "x/a.mp4", frames=4)
    make_clip(folder / "y/b.mp4", frames=5)
    (folder / "y/bad.mp4").write_bytes(b"no video")
    summary = flowkit.extract(folder, URL, streams=["rgb"], **settings)
    assert (summary.extracted, len(summary.failed)) == (2, 1)
    store = Store(URL)
    assert store.classes == ("x", "y") and store["x/a.mp4"].num_frames == 4
    shutil.rmtree(tmp_path / "cache")
    make_clip(folder / "x/a.mp4", frames=7, seed=1)
    s3.forget()
    summary = flowkit.extract(folder, URL, streams=["rgb", "flow"], update=True, **settings)
    assert (summary.extracted, len(summary.quarantined)) == (2, 1)
    s3.forget()
    store = Store(URL)
    assert store["x/a.mp4"].num_frames == 7 and store["y/b.mp4"].num_flow == 4
    assert store["y/b.mp4"].labels and verify(URL).clean


def test_the_command(s3, tmp_path, make_clip):
    clip = make_clip(tmp_path / "clips/x/a.mp4", frames=4)
    words = ["--streams", "rgb", "--size", "32x32", "--workers", "0", "--store", URL]
    arguments = ["extract", "--videos", str(clip.parents[1]), *words]
    result = CliRunner().invoke(
        main, [*arguments, "--working-store", str(tmp_path / "w"), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["store"] == URL
    assert f"shards are written to {tmp_path / 'w'}, and uploaded to {URL}" in result.stderr
    assert "uploaded 1 shards" in result.stderr
    result = CliRunner().invoke(main, ["status", URL, "--json"])
    status = json.loads(result.stdout)
    assert (status["videos"], status["running"], status["stale"]) == (1, [], 0)
    result = CliRunner().invoke(main, [*arguments, "--size", "64x64"])
    assert result.exit_code == 1 and result.stderr.splitlines()[-1].startswith(
        f"error: {URL} has another recipe (store ≠ requested): "
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_real_kills(s3, tmp_path, make_clip, contents, workers):
    folder = tmp_path / "clips"
    for n in range(12):
        make_clip(folder / f"{n}.mp4", frames=30, seed=n)
    command = [sys.executable, "-m", "flowkit", "extract", "--videos", folder, "--size", "64x64",
               "--workers", workers, "--preset", "fast", "--commit-seconds", 0]  # fmt: skip
    local = [*map(str, command), "--store", str(tmp_path / "local")]
    subprocess.run(local, check=True, capture_output=True)
    expected, remote = contents(tmp_path / "local"), [*map(str, command), "--store", URL]
    environment = {**os.environ, "RAY_worker_niceness": "0"}
    delay, kills = random.Random(7), 0
    while True:
        process = subprocess.Popen(
            remote, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            done = sum(key.endswith(".json") and "/frames/" in key for key in s3.objects)
            started = time.monotonic()
            while kills < 6 and process.poll() is None and time.monotonic() - started < 60:
                now = sum(key.endswith(".json") and "/frames/" in key for key in s3.objects)
                if now > done:  # it has come so far in any case: the loop ends
                    time.sleep(delay.uniform(0, 0.5))
                    process.kill()
                    kills += 1
                    break
                time.sleep(0.01)
            _, error = process.communicate(timeout=300)
        finally:
            process.kill()
        if process.returncode != -signal.SIGKILL:
            break
        if "stores/mine/store.json" in s3.objects:
            s3.forget()
            found = contents(URL)
            assert found == {id: expected[id] for id in found}
    assert process.returncode == 0, error
    s3.forget()
    assert kills >= 3 and contents(URL) == expected and verify(URL, deep=True).clean
