"""What a worker's death means for its video."""

import pytest

from flowkit.extraction.failure_diagnosis import GPU_FAILED, Diagnosis, diagnose_failure, read_trace

KILLED = Exception("Task was killed due to the node running low on memory.")
LOST = Exception("The actor died unexpectedly.")


@pytest.mark.parametrize(
    ("error", "trace", "hung", "kind", "tries", "blames_video"),
    [
        (LOST, "", True, "hang", 2, True),
        (KILLED, "", False, "oom", 5, False),
        (LOST, f"{GPU_FAILED}CUDA error: unknown", False, "gpu", 3, False),
        (LOST, "Segmentation fault at reader.py:120", False, "crash", 2, True),
        (LOST, "", False, "lost", 3, True),
    ],
)
def test_each_death_has_a_kind(error, trace, hung, kind, tries, blames_video):
    diagnosis = diagnose_failure(error, trace, hung, 300.0)
    found = (diagnosis.kind, diagnosis.tries, diagnosis.blames_video)
    assert found == (kind, tries, blames_video)


@pytest.mark.parametrize(
    ("kind", "tries", "earlier", "deaths", "has_tries"),
    [
        ("crash", 2, (), 1, True),
        ("crash", 2, ("crash",), 2, False),
        ("crash", 2, ("oom", "gpu", "lost", "oom"), 1, True),  # none of them is its fault
        ("crash", 2, ("oom", "crash", "oom"), 2, False),
        ("oom", 5, ("crash",) + ("oom",) * 3, 4, True),
        ("oom", 5, ("oom",) * 4, 5, False),
    ],
)
def test_the_deaths_of_each_kind_are_counted_on_their_own(kind, tries, earlier, deaths, has_tries):
    diagnosis = Diagnosis(kind, "why", tries)
    assert diagnosis.count_deaths(earlier) == deaths
    assert diagnosis.has_tries_left(earlier) is has_tries


def test_a_trace_names_signal_and_place(tmp_path):
    crash_path = tmp_path / "j"
    crash_path.write_text(
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x01 (most recent call first):\n"
        '  File "/x/flowkit/decode/reader.py", line 120 in _decode\n'
    )
    assert read_trace(crash_path) == "Segmentation fault at reader.py:120"
    crash_path.write_text("")
    assert read_trace(crash_path) == ""
