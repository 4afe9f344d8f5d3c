"""A store in other processes, however they are started."""

import gc
import multiprocessing
import os
import pickle
import warnings

import pytest

from flowkit.errors import StoreError
from flowkit.store import ShardWriter, Store, rebuild_index


def read_all_rows(store, times):
    """In a child: every frame, read in another order than the parent does."""
    return {id: [store[id].rgb_bytes(t) for t in range(times)] for id in reversed(list(store))}


def read_into(queue, store, times):
    queue.put(read_all_rows(store, times))


@pytest.fixture
def store(stores, make_root):
    root = make_root({f"v{k}": stores.draw_rows(k, 4) for k in range(6)}, roll_bytes=1)
    rebuild_index(root)
    return Store(root)


def wanted(stores):
    return {f"v{k}": [row[0] for row in stores.draw_rows(k, 4)] for k in range(6)}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("touched", [False, True])
def test_passed_to_a_child(stores, store, method, touched):
    """Pickled by spawn and forkserver, inherited by fork; before and after the parent has read."""
    if touched:
        read_all_rows(store, 4)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=read_into, args=(queue, store, 4))
    with warnings.catch_warnings():
        # Python ≥ 3.12 warns of forking a process with threads, which Arrow has.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    try:
        assert queue.get(timeout=60) == wanted(stores)
        assert read_all_rows(store, 4) == wanted(stores)
    finally:
        process.join(60)
    assert process.exitcode == 0


def test_parent_and_forked_child_read_at_once(stores, store):
    read_all_rows(store, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        good = all(read_all_rows(store, 4) == wanted(stores) for _ in range(30))
        os._exit(0 if good else 1)
    assert all(read_all_rows(store, 4) == wanted(stores) for _ in range(30))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_pickle_is_small_and_opens_nothing_until_it_is_used(stores, store):
    read_all_rows(store, 4)
    data = pickle.dumps(store)
    assert len(data) < 500
    gc.collect()  # shards that an earlier reader still holds in a cycle would close in between
    before = stores.open_files(store.path)
    copy = pickle.loads(data)
    assert stores.open_files(store.path) <= before
    assert pickle.loads(pickle.dumps(copy)).version == store.version
    assert read_all_rows(copy, 4) == wanted(stores)


def test_videos_pickle_with_their_store(store):
    video = pickle.loads(pickle.dumps(store["v3"]))
    assert video.id == "v3"
    assert video.rgb_bytes(2) == store["v3"].rgb_bytes(2)


def test_a_pickle_of_another_version_says_so(stores, store):
    data = pickle.dumps(store)
    writer = ShardWriter(store.path, recipe=stores.RECIPE)
    stores.put(writer, "a", stores.draw_rows(1, 2))
    writer.close()
    version = rebuild_index(store.path)
    copy = pickle.loads(data)
    with pytest.raises(StoreError, match=f"version {store.version}.*got {version}.*open the store"):
        len(copy)
    assert store["v3"].rgb_bytes(1) == stores.draw_rows(3, 4)[1][0]
