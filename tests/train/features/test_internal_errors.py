"""Exceptions that nobody foresaw, in a share of videos: the one at fault is found."""

import sys
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from flowkit.datasets import stream_readers
from flowkit.errors import DeviceError, DiskFullError, FlowkitError, InternalError
from flowkit.store import Store
from flowkit.store.failures import read_failures
from flowkit.store.integrity.verify import verify
from train.features import NetworkOptions, Options, extract_features
from train.features import embedder as embedder_module

QUIET = Console(quiet=True)
HERE = Options(workers=0, device="cpu", batch=8)
# A reader for processes, which see no monkeypatch: they import it.
READER = """
from flowkit.datasets.views import ViewReader

class BrokenReader(ViewReader):
    def __getitem__(self, chunks):
        if any(chunk.id == "video 04" for chunk in chunks):
            raise TypeError("no such crop")
        return super().__getitem__(chunks)
"""


@pytest.fixture
def wanted(finished):
    return NetworkOptions(model=str(finished.path), stream="flow", positions=4)


def run(store, wanted, name="flow", **changes):
    return extract_features(store.path, name, wanted, replace(HERE, **changes), QUIET)


def plant(monkeypatch, error, ids=None):
    """Reading raises ``error``; of videos ``ids`` alone where they are given."""

    def read(video, times, crops, out, real=stream_readers.read_flow):
        if ids is None or video.id in ids:
            raise error
        real(video, times, crops, out)

    monkeypatch.setitem(stream_readers.READERS, "flow", read)


def test_only_the_videos_at_fault_fail(store, wanted, monkeypatch):
    plant(monkeypatch, TypeError("odd"), {"video 04", "video 11"})
    summary = run(store, wanted)
    assert (summary.computed, summary.left) == (10, 0)
    assert [(f.id, f.kind) for f in summary.failed] == [
        ("video 04", "internal-error"), ("video 11", "internal-error"),
    ]  # fmt: skip
    failure = read_failures(store.path, "features/flow")["video 04"]
    assert failure.reason.startswith("TypeError at test_internal_errors.py:")
    assert "TypeError: odd" in failure.traceback and not failure.retry
    monkeypatch.undo()
    assert len(run(store, wanted).quarantined) == 2
    assert run(store, wanted, retry_failed=True).computed == 2
    plain = run(store, wanted, "plain")
    assert plain.computed == 12
    opened = Store(store.path)
    for id in opened.ids:  # halves make other batches, and they the same features
        difference = opened[id].features("flow") - opened[id].features("plain")
        assert abs(difference).max() < 2e-3


def test_so_it_is_where_processes_read(store, wanted, monkeypatch, tmp_path):
    (tmp_path / "broken_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(str(tmp_path))
    from broken_reader import BrokenReader

    monkeypatch.setattr(embedder_module, "ViewReader", BrokenReader)
    summary = run(store, wanted, readers=1)
    assert (summary.computed, summary.left) == (11, 0)
    (failure,) = summary.failed
    assert (failure.id, failure.kind) == ("video 04", "internal-error")
    assert failure.reason == "TypeError at broken_reader.py:7: no such crop"
    sys.modules.pop("broken_reader")


def test_where_all_fail_alike_the_run_ends_and_its_videos_are_tried_again(
    store, wanted, monkeypatch
):
    plant(monkeypatch, TypeError("broken"))
    with pytest.raises(InternalError, match=r"TypeError at .*: broken\. .*flowkit doctor"):
        run(store, wanted)
    failed = read_failures(store.path, "features/flow")
    assert len(failed) >= 10 and all(failure.retry for failure in failed.values())
    assert verify(store.path).clean
    monkeypatch.undo()
    summary = run(store, wanted)
    assert (summary.computed, summary.quarantined) == (12, [])


def test_errors_that_are_no_videos_keep_their_meaning(store, wanted, monkeypatch):
    for error, kind in [
        (OSError(28, "No space left on device"), DiskFullError),
        (FlowkitError("the machine"), FlowkitError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (torch.AcceleratorError("CUDA error: an illegal memory access"), DeviceError),
    ]:
        plant(monkeypatch, error)
        with pytest.raises(kind):
            run(store, wanted)
    assert read_failures(store.path, "features/flow") == {}
    plant(monkeypatch, MemoryError(), {"video 04"})
    assert [failure.kind for failure in run(store, wanted).failed] == ["memory"]
