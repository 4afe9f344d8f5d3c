"""Steps: what is skipped, and what the finding of one that fails says."""

import json
from pathlib import Path

import pytest

from flowkit.doctor.steps import (
    TrialStep,
    WrongResultError,
    describe_error,
    run_check,
    run_steps,
    suggest_advice,
)
from flowkit.errors import CorruptError, DiskFullError, FlowError, UsageError, VideoError


def test_what_needs_a_failed_step_is_skipped_and_the_others_run() -> None:
    def fail() -> str:
        raise WrongResultError("expected 8 frames, got 7")

    ran: list[str] = []
    steps = [
        TrialStep("a", lambda: "2 things"),
        TrialStep("b", fail, ("a",), "buy another"),
        TrialStep("c", lambda: "never", ("a", "b")),
        TrialStep("d", lambda: "never", ("c",)),
        TrialStep("e", lambda: "this", ("a",)),
    ]
    a, b, c, d, e = run_steps(steps, ran.append)
    assert (a.status, a.message[:12]) == ("ok", "2 things in ")
    assert a.message.endswith(" s")
    assert (b.status, b.message, b.advice) == ("fail", "expected 8 frames, got 7", "buy another")
    assert c.status == d.status == "skip"
    assert c.message == d.message == "not tried, because 'b' failed"
    assert e.status == "ok"
    assert ran == ["a", "b", "e"]


def test_an_unexpected_error_says_its_type_and_where_it_was_raised_and_called(
    tmp_path: Path,
) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    folder = {"ours": Path(__file__).parent}
    text = describe_error(caught.value, folder)
    assert text.startswith("unexpected JSONDecodeError: Expecting property name")
    assert "json/decoder.py:" in text
    assert f"called from tests/flowkit/doctor/{Path(__file__).name}:" in text
    with pytest.raises(KeyError) as caught_here:
        {}["key"]
    assert "called from" not in describe_error(caught_here.value, folder)
    assert Path(__file__).name in describe_error(caught_here.value, folder)


def test_an_import_error_names_the_package_to_install() -> None:
    def broken() -> list[object]:
        raise ImportError("cannot import name 'x' from 'sklearn.metrics'", name="sklearn.metrics")

    (finding,) = run_check("topic", broken)  # type: ignore[arg-type]
    assert (finding.topic, finding.status) == ("topic", "fail")
    assert finding.message.startswith("cannot be imported: cannot import name 'x'")
    assert finding.advice == "pip install --force-reinstall scikit-learn"
    assert "libgl1" in suggest_advice(ImportError("libGL.so.1: cannot open shared object file"))
    assert "tested versions" in suggest_advice(ImportError("no", name="flowkit.flow"))
    assert "tested versions" in suggest_advice(RuntimeError("no"))


@pytest.mark.parametrize("kind", [DiskFullError, FlowError, UsageError])
def test_an_error_that_says_what_to_do_gets_no_other_advice(kind: type[Exception]) -> None:
    def fail() -> str:
        raise kind("disk full while writing a; free some and run the same command again")

    (finding,) = run_steps([TrialStep("write store", fail)])
    assert finding.message.endswith("free some and run the same command again")
    assert finding.advice == ""
    (finding,) = run_check("topic", fail)  # type: ignore[arg-type]
    assert finding.advice == ""


@pytest.mark.parametrize(
    "error",
    [VideoError("broken", "no frames"), CorruptError("checksum mismatch"), WrongResultError("7")],
)
def test_errors_about_the_clips_of_the_doctor_blame_the_installation(error: Exception) -> None:
    assert "tested versions" in suggest_advice(error)
