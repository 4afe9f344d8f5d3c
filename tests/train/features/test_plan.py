"""Shares of videos, and how a crash in one is narrowed down."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.store import Store
from flowkit.store.failures import Failure, append_failure, read_failures
from train.features.options import Options
from train.features.plan import Share, Target, find_lack, make_failure, make_plan, share_out
from train.features.summary import Summary

FILE = Path("weights.pth")


def make_summary():
    return Summary(store="s", name="x", network="n")


def make_targets(weights):
    return [Target(id=str(n), available=w, weight=w) for n, w in enumerate(weights)]


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 60))
def test_shares_are_all_videos_in_order(weights, size):
    targets = make_targets(weights)
    shares = share_out(targets, size, FILE)
    assert [target for share in shares for target in share.targets] == targets
    for share in shares[:-1]:
        assert sum(target.weight for target in share.targets) >= size
        assert sum(target.weight for target in share.targets[:-1]) < size


@given(st.integers(1, 40), st.data())
def test_halving_finds_the_video_at_fault(count, data):
    bad = str(data.draw(st.integers(0, count - 1)))
    suspects = [Share(targets=tuple(make_targets([1] * count)), weight_file=FILE)]
    found, died = [], 0
    while suspects:
        share = suspects.pop()
        if all(target.id != bad for target in share.targets):
            found += [target.id for target in share.targets]
        elif share.attempt < 2:
            died += 1
            suspects += share.make_retries("crash")
        else:
            assert [target.id for target in share.targets] == [bad]
    assert sorted([*found, bad]) == sorted(map(str, range(count)))
    assert died <= 2 + count.bit_length()


def test_what_was_salvaged_is_not_tried_again():
    share = Share(targets=tuple(make_targets([1, 1, 1])), weight_file=FILE)
    done, left = share.divide({"1", "another"})
    assert [target.id for target in done.targets] == ["1"]
    assert [target.id for target in left.targets] == ["0", "2"]
    assert share.divide(set()) == (None, share)
    assert share.divide({"0", "1", "2"}) == (share, None)
    assert share.id == "0 and 2 more"
    assert [(o.id, o.status) for o in done.make_outcome("failed")] == [("1", "failed")]


def test_quarantines_of_streams_are_apart(make_store):
    store = Store(make_store(["a", "b"]))
    append_failure(store.path, make_failure("a", "crash", "it crashed", "features/x"))
    append_failure(store.path, Failure("b", "b.mp4", "broken", "no frame", 1, 0.0))
    assert list(read_failures(store.path)) == ["b"]
    failures = read_failures(store.path, "features/x")
    assert list(failures) == ["a"]
    summary = make_summary()
    targets = make_plan(store, "features/x", "rgb", (25, 3), failures, Options(), summary)
    assert [(t.id, t.weight) for t in targets] == [("b", 75)]
    assert [failure.id for failure in summary.quarantined] == ["a"]
    summary, options = make_summary(), Options(retry_failed=True, limit=1)
    targets = make_plan(store, "features/x", "rgb", (0, 1), failures, options, summary)
    assert ([t.id for t in targets], summary.beyond) == (["a"], 1)


@pytest.mark.parametrize(("stream", "available"), [("rgb", 5), ("flow", 4)])
def test_what_a_video_has_is_counted_in_its_own_units(make_store, stream, available):
    store = Store(make_store(["a"]))
    targets = make_plan(store, "features/x", stream, (0, 1), {}, Options(), make_summary())
    assert [(t.available, t.weight) for t in targets] == [(available, available)]


@pytest.mark.parametrize(("frames", "words"), [(1, "only 1 frame"), (3, "only 3 frames")])
def test_a_video_without_flow_says_how_many_frames_it_has(frames, words):
    """With a step of 4, one of 3 frames has none either."""
    index = SimpleNamespace(
        count=lambda *_: 0, locate=lambda *_: (0, 0, 0, 0), count_frames=lambda _: frames
    )
    lack = find_lack(SimpleNamespace(index=index), 0, "flow", False)
    assert lack == ("too-short", f"it has no flow: it has {words}")
