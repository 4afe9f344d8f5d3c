"""Runs on Ray: crashes, hangs, lost workers and nodes, and what they cost."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from flowkit.annotations import explicit_files
from flowkit.decode import VideoReader
from flowkit.errors import FlowkitError, StoreError
from flowkit.extraction import Options, WorkerSetup, extract
from flowkit.extraction.actor import Actor
from flowkit.extraction.ray_cluster import check_address, import_ray
from flowkit.store import Store

# Ray's own threads and sockets outlive a shutdown by a moment.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def two_nodes():
    """A cluster of two nodes with one core each, on this machine, joined by this process."""
    ray = import_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False},
    )
    # This process joins while there is only the head, and so does not hang on the node that dies.
    ray.init(address=cluster.address, log_to_driver=False, logging_level="CRITICAL")
    head = cluster.head_node
    second = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    cluster.wait_for_nodes()
    nodes = [cluster, second]
    yield nodes
    ray.shutdown()
    cluster.shutdown()
    # Clients of Ray have threads; a process that a later test forks would die as it frees them. Its
    # nodes are kept by exit handlers, which multiprocessing frees in its children (Python 3.13).
    for node in (head, second):
        node._gcs_client = None
    nodes.clear()  # pytest has the list for longer
    del cluster, second, head
    gc.collect()


def plant(fault, marker):
    """An ``open_video`` that does ``fault`` where the file's name contains ``marker``.

    A closure, so that it travels to the workers by value.
    """

    def open_video(path, resize, fps):
        if marker in path.name:
            fault(path)
        return VideoReader(path, resize, fps)

    return open_video


def crash(path):
    import ctypes

    ctypes.string_at(0)  # reads address 0: a real segmentation fault


def hang(path):
    time.sleep(3600)


def vanish_once(path):
    """The first time, the worker is killed from outside; the second time all is well."""
    mark = path.with_suffix(".was-here")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def closure(fault):
    """``fault`` with nothing to import: workers cannot see this module."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["_"]))
    return fault


def make_clips(folder, make_clip, names, frames=9):
    return [
        make_clip(folder / f"{name}.mp4", frames=frames, seed=i) for i, name in enumerate(names)
    ]


def dawdle(path, resize, fps):
    time.sleep(0.4)
    return VideoReader(path, resize, fps)


def meet(path, resize, fps):
    """A worker's first video waits until another worker is at one, however slowly it starts."""
    (path.parent / f"worker-{os.getpid()}").touch()
    while len(list(path.parent.glob("worker-*"))) < 2:
        time.sleep(0.05)
    return VideoReader(path, resize, fps)


def test_both_nodes_work(two_nodes, tmp_path, make_clip, recipe, committed):
    clips = make_clips(tmp_path, make_clip, "abcd")
    options = Options(workers=2, open_video=closure(meet))
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert (summary.extracted, summary.failed, summary.left) == (4, [], 0)
    places = {video.provenance["host"] for video in committed(tmp_path / "S")}
    assert len(places) == 2


def test_a_crash_blames_only_its_video(two_nodes, tmp_path, make_clip, recipe, contents, capfd):
    names = ["a", "b", "poison", "c", "d", "e", "f", "g"]
    clips = make_clips(tmp_path, make_clip, names, frames=60)
    options = Options(workers=2, open_video=plant(closure(crash), "poison"), roll_seconds=0.5)
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    (failure,) = summary.failed
    assert (failure.id, failure.kind, failure.attempts) == ("poison.mp4", "crash", 2)
    assert "Segmentation fault" in failure.reason
    assert (summary.extracted, summary.left) == (7, 0)
    time.sleep(1)  # for what Ray might have to say
    assert capfd.readouterr().out == ""  # stdout is the summary's
    extract(explicit_files(clips), tmp_path / "T", recipe, Options(workers=0))
    whole = contents(tmp_path / "T")
    assert contents(tmp_path / "S") == {id: whole[id] for id in whole if id != "poison.mp4"}


def test_a_hang_is_killed_and_quarantined(two_nodes, tmp_path, make_clip, recipe):
    clips = make_clips(tmp_path, make_clip, ["a", "hangs", "b"])
    options = Options(workers=2, open_video=plant(closure(hang), "hangs"), stall_seconds=2.0)
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    (failure,) = summary.failed
    assert (failure.id, failure.kind) == ("hangs.mp4", "hang")
    assert "no new frame for 2 s" in failure.reason
    assert sorted(Store(tmp_path / "S")) == ["a.mp4", "b.mp4"]


def test_a_killed_worker_costs_nothing(two_nodes, tmp_path, make_clip, recipe, committed):
    clips = make_clips(tmp_path, make_clip, ["a", "b", "killed", "c"], frames=20)
    options = Options(workers=1, open_video=plant(closure(vanish_once), "killed"))
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert (summary.extracted, summary.failed, summary.left) == (4, [], 0)
    ids = [video.id for video in committed(tmp_path / "S")]
    assert sorted(ids) == ["a.mp4", "b.mp4", "c.mp4", "killed.mp4"]  # nothing twice


def test_an_interrupt_stops_workers_in_good_order(two_nodes, tmp_path, make_clip, recipe):
    clips = make_clips(tmp_path, make_clip, "abcdef", frames=30)

    timer = threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    options = Options(workers=1, open_video=closure(dawdle))
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    timer.join()
    assert summary.interrupted
    assert summary.extracted + summary.left == 6
    assert summary.extracted == len(Store(tmp_path / "S"))
    rest = extract(explicit_files(clips), tmp_path / "S", recipe, Options(workers=1))
    assert rest.extracted == summary.left
    assert len(Store(tmp_path / "S")) == 6


def test_a_node_that_does_not_see_store_or_videos_is_unfit(two_nodes, tmp_path, recipe):
    setup = WorkerSetup(root=tmp_path, recipe=recipe, backend="numba")
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "token").touch()
    with pytest.raises(StoreError, match="does not see the store"):
        Actor(setup, tmp_path / "j", "another-token", tmp_path).start()
    with pytest.raises(StoreError, match=r"does not see .*gone\.mp4: expected it on"):
        Actor(setup, tmp_path / "j", "token", tmp_path / "gone.mp4").start()


# The last of this module: it takes the second node away.
def test_a_dead_node_is_survived(two_nodes, tmp_path, make_clip, recipe, contents):
    cluster, second = two_nodes
    clips = make_clips(tmp_path, make_clip, "abcdefgh", frames=30)

    timer = threading.Timer(2.0, cluster.remove_node, (second,), {"allow_graceful": False})
    timer.start()
    options = Options(workers=2, open_video=closure(dawdle), roll_seconds=1.0)
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    timer.join()
    assert (summary.extracted, summary.failed, summary.left) == (8, [], 0)
    extract(explicit_files(clips), tmp_path / "T", recipe, Options(workers=0))
    assert contents(tmp_path / "S") == contents(tmp_path / "T")


def test_an_address_where_nothing_listens_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(FlowkitError, match=f"no Ray cluster answers at {address}"):
            check_address(address)


@pytest.mark.parametrize("host", ["head..node", "a" * 70])
def test_an_address_that_no_host_can_have_is_refused_in_one_line(host):
    with pytest.raises(FlowkitError, match=f"no Ray cluster answers at {host}:6379"):
        check_address(f"{host}:6379")


@pytest.mark.slow
@pytest.mark.parametrize("auth", ["token", "disabled"])
def test_a_cluster_is_joined_whether_or_not_it_asks_for_a_token(tmp_path, make_clip, auth):
    clips = make_clips(tmp_path, make_clip, "ab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    home = os.environ | {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    start = ["start", "--head", "--block", "--num-cpus", "1", "--include-dashboard", "false"]
    head = subprocess.Popen(
        [*ray, *start, "--port", address.rpartition(":")[2]],
        env=home | {"RAY_AUTH_MODE": auth},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        check = [*ray, "health-check", "--address", address]
        deadline = time.monotonic() + 60
        while subprocess.run(
            check, env=home | {"RAY_AUTH_MODE": auth}, capture_output=True
        ).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        command = [sys.executable, "-m", "flowkit", "extract", *map(str, clips)]
        command += ["--store", str(tmp_path / "S"), "--size", "32x32", "--address", address]
        done = subprocess.run(command, env=home, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert len(Store(tmp_path / "S")) == 2
    finally:
        head.terminate()
        head.wait()
