"""Exceptions that nobody foresaw: one video's failure, or the installation's where all have it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowkit.annotations import explicit_files
from flowkit.decode import VideoReader
from flowkit.errors import DeviceError, DiskFullError, InternalError, StoreError
from flowkit.extraction import Options, extract
from flowkit.extraction.driver import Driver
from flowkit.extraction.internal_errors import FailureLog, check_disk, describe_exception, is_about
from flowkit.extraction.tasks import ExtractionTask
from flowkit.extraction.worker import Worker
from flowkit.extraction.worker_setup import WorkerSetup
from flowkit.store import Store
from flowkit.store.failures import Failure, read_failures
from flowkit.store.integrity.verify import verify

# An installation whose PyAV and flowkit do not fit together.
BROKEN_AV = """
import av

def open(*arguments, **options):
    raise TypeError("open() got an unexpected keyword argument")

av.open = open
"""


def plant(error, marker=""):
    """An ``open_video`` that raises ``error`` where the file's name contains ``marker``."""

    def open_video(path, resize, fps):
        if marker in path.name:
            raise error
        return VideoReader(path, resize, fps)

    return open_video


@pytest.fixture
def clips(tmp_path, make_clip):
    return [make_clip(tmp_path / f"{i:02d}.mp4", frames=3, seed=i) for i in range(12)]


def test_an_unforeseen_exception_is_one_videos_failure(tmp_path, clips, recipe):
    options = Options(workers=0, open_video=plant(TypeError("no\nidea"), "03"))
    summary = extract(explicit_files(clips), tmp_path / "S", recipe, options)
    assert (summary.extracted, summary.left) == (11, 0)
    (failure,) = read_failures(tmp_path / "S").values()
    assert (failure.id, failure.kind, failure.retry) == ("03.mp4", "internal-error", False)
    line = plant.__code__.co_firstlineno + 5
    assert failure.reason == f"TypeError at test_internal_errors.py:{line}: no idea"
    assert failure.traceback.startswith("Traceback (most recent call last):")
    assert failure.traceback.endswith("TypeError: no\nidea\n")
    again = extract(explicit_files(clips), tmp_path / "S", recipe, Options(workers=0))
    assert [failure.id for failure in again.quarantined] == ["03.mp4"]


@pytest.mark.parametrize("count", [1, 9, 12])
def test_where_all_fail_alike_the_run_ends_and_its_videos_are_tried_again(
    tmp_path, clips, recipe, count
):
    root, some = tmp_path / "S", clips[:count]
    broken = Options(workers=0, open_video=plant(TypeError("broken")))
    for _ in range(2):  # again while nothing is repaired
        with pytest.raises(InternalError, match=r"TypeError at .*: broken\. .*flowkit doctor"):
            extract(explicit_files(some), root, recipe, broken)
    failed = read_failures(root)
    assert len(failed) == min(count, 10)
    assert all(failure.retry and failure.traceback for failure in failed.values())
    assert (len(Store(root)), verify(root).clean) == (0, True)
    summary = extract(explicit_files(some), root, recipe, Options(workers=0))  # repaired
    assert (summary.extracted, summary.quarantined) == (count, [])


def test_what_is_done_before_the_run_ends_is_kept(tmp_path, clips, recipe, monkeypatch):
    monkeypatch.setattr("flowkit.extraction.internal_errors.IN_A_ROW", 5)
    calls = []

    def open_video(path, resize, fps):
        calls.append(path)
        if len(calls) > 4:
            raise KeyError("a disk went away")
        return VideoReader(path, resize, fps)

    with pytest.raises(InternalError, match="5 videos in a row failed"):
        extract(
            explicit_files(clips), tmp_path / "S", recipe, Options(workers=0, open_video=open_video)
        )
    assert (len(Store(tmp_path / "S")), verify(tmp_path / "S").clean) == (4, True)
    assert len(calls) == 9
    rest = extract(explicit_files(clips), tmp_path / "S", recipe, Options(workers=0))
    assert (rest.extracted, rest.done_before, rest.quarantined) == (8, 4, [])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_installation_at_fault_is_said_in_one_line(tmp_path, clips, workers):
    """As a user sees it, in this process and with Ray's workers, where not even `open` works."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN_AV)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "flowkit", "extract", *map(str, clips)]
    done = subprocess.run(
        [*command, "--store", "S", "--size", "32x32", "--workers", workers],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    *lines, last = done.stderr.splitlines()
    failures = [line for line in lines if line.startswith("failed: ")]
    assert last.startswith(f"error: {len(failures)} videos failed, and none was extracted, by the ")
    assert "TypeError at sitecustomize.py:5: open() got an unexpected keyword argument" in last
    assert "flowkit doctor" in last
    assert 10 <= len(failures) <= 12
    assert (len(Store(tmp_path / "S")), verify(tmp_path / "S").clean) == (0, True)
    assert len(read_failures(tmp_path / "S")) == len(failures)


def test_errors_that_are_no_videos_keep_their_meaning(tmp_path, clips, recipe):
    setup = WorkerSetup(root=tmp_path / "S", recipe=recipe, backend="numba")
    task = ExtractionTask(id="a", source=clips[0], streams=("rgb",))
    for error, kind in [
        (DiskFullError("full"), DiskFullError),
        (StoreError("bad"), StoreError),
        (DeviceError("gone"), DeviceError),
        (OSError(28, "No space left on device"), DiskFullError),
        (OSError(5, "Input/output error"), StoreError),
        (OSError(30, "Read-only file system", str(tmp_path / "S" / "frames" / "x")), StoreError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (SystemExit(3), SystemExit),
    ]:
        with pytest.raises(kind):
            Worker(replace(setup, open_video=plant(error))).extract(task)
    for error, kind in [
        (MemoryError(), "memory"),
        (FileNotFoundError(2, "No such file", str(clips[0])), "unreadable"),
        (FileNotFoundError(2, "No such file", "/usr/share/fonts/x"), "internal-error"),
        (OSError("libsomething.so.1: cannot open shared object file"), "internal-error"),
        (ValueError("odd"), "internal-error"),
        (RecursionError("deep"), "internal-error"),
    ]:
        outcome = Worker(replace(setup, open_video=plant(error))).extract(task)
        assert (outcome.status, outcome.kind) == ("failed", kind), error
        assert kind != "memory" or outcome.reason.endswith(": not enough memory")


def test_what_an_exception_says_fits_into_a_store(tmp_path):
    found = describe_exception(ValueError("\udcff " + "x" * 5000))
    assert found.reason.startswith("ValueError: \\udcff xxx") and len(found.reason) < 400
    assert json.loads(json.dumps(found.traceback).encode()) == found.traceback
    assert not is_about(OSError(2, "gone", 7), tmp_path)
    check_disk(ValueError("no"), tmp_path)


def test_what_a_loaders_process_raised_is_named_as_there():
    text = (
        "Caught TypeError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        '  File "/x/torch/utils/data/_utils/worker.py", line 349, in _worker_loop\n'
        "    data = fetcher.fetch(index)\n"
        '  File "/x/flowkit/datasets/views.py", line 120, in __getitem__\n'
        "    raise TypeError()\n"
        "TypeError: no such crop\n"
    )
    assert describe_exception(TypeError(text)).reason == "TypeError at views.py:120: no such crop"


def make_failure(number):
    return Failure(f"{number}", f"{number}.mp4", "internal-error", "it failed", 1, 0.0)


@pytest.fixture
def log():
    """A log, what it recorded, and whether it asked for the end."""
    recorded, stops = [], []
    return FailureLog(recorded.append, lambda: stops.append(1)), recorded, stops


def test_ten_alike_at_first_or_a_hundred_in_a_row_blame_the_installation(log):
    failures, recorded, stops = log
    failures.add_success()
    for number in range(99):
        failures.add_failure(make_failure(number), "a")
    assert (recorded, stops) == ([], [])
    failures.add_failure(make_failure(99), "b")  # another: so what came before is the videos'
    assert len(recorded) == 99
    for number in range(100, 199):
        failures.add_failure(make_failure(number), "b")
    assert stops == [1]
    failures.add_success()  # of what was under way
    error = failures.close(Path("S"))
    assert "100 videos in a row failed" in str(error)
    assert [failure.retry for failure in recorded] == [False] * 99 + [True] * 100


def test_nine_alike_and_one_that_is_not_are_the_videos_faults(log):
    failures, recorded, stops = log
    for number in range(9):
        failures.add_failure(make_failure(number), "a")
    failures.add_failure(make_failure(9), "")  # not an internal error
    assert failures.close(Path("S")) is None
    assert (len(recorded), stops) == (10, [])
    assert not any(failure.retry for failure in recorded)


def test_an_empty_file_among_them_does_not_acquit_the_installation(log):
    failures, recorded, stops = log
    for number in range(10):
        failures.add_failure(make_failure(number), "a")
        failures.add_failure(make_failure(100 + number), "")
    assert stops == [1]
    assert "10 videos failed, and none was extracted" in str(failures.close(Path("S")))
    assert [failure.id for failure in recorded if failure.retry] == [str(n) for n in range(10)]


def test_a_worker_that_cannot_start_is_one_line():
    """What Ray's workers raise has its place in their tracebacks alone."""
    error = Exception(
        "ray::Actor.start() (pid=7)\n"
        '  File "/x/flowkit/extraction/actor.py", line 50, in start\n'
        "    self._workers[0].warm_up()\n"
        "TypeError: no such kernel\n"
    )
    error.cause = TypeError("no such kernel")
    driver = Driver.__new__(Driver)
    driver._remove_lane = lambda lane: None
    with pytest.raises(
        InternalError, match=r"a worker cannot start: TypeError at actor\.py:50: no such kernel\. "
    ):
        driver._handle_error(SimpleNamespace(state="starting"), error)
    error.cause = StoreError("not seen")
    with pytest.raises(StoreError, match="not seen"):
        driver._handle_error(SimpleNamespace(state="starting"), error)
