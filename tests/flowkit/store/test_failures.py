import json
import multiprocessing
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from flowkit.store.failures import Failure, append_failure, read_failures


def failure(id="a", attempts=1, reason="no frames"):
    return Failure(id, f"{id}.mp4", "empty", reason, attempts, 1.5)


@given(st.text(), st.text())
def test_any_text_round_trips(tmp_path_factory, id, reason):
    root = tmp_path_factory.mktemp("store")
    append_failure(root, failure(id, 2, reason))
    assert read_failures(root) == {id: failure(id, 2, reason)}


def test_a_reason_with_other_bytes_is_kept_as_escapes(tmp_path):
    append_failure(tmp_path, failure("a", reason="/caf\udce9/\udcc3\udcbc.mp4 is empty"))
    assert read_failures(tmp_path)["a"].reason == "/caf\\xe9/ü.mp4 is empty"
    (tmp_path / "failures.jsonl").read_text(encoding="utf-8")


def test_the_last_line_of_an_id_counts(tmp_path):
    assert read_failures(tmp_path) == {}
    for attempt in (1, 2, 3):
        append_failure(tmp_path, failure("a", attempt))
        append_failure(tmp_path, failure("b", 1))
    assert read_failures(tmp_path) == {"a": failure("a", 3), "b": failure("b", 1)}
    assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == 6


def test_a_torn_line_spoils_nothing(tmp_path):
    append_failure(tmp_path, failure("a"))
    append_failure(tmp_path, failure("b"))
    path = tmp_path / "failures.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        assert read_failures(tmp_path).keys() >= {"a"}
        append_failure(tmp_path, failure("c"))
        found = read_failures(tmp_path)
        assert found["a"] == failure("a")
        assert found["c"] == failure("c")


def append_many(root, name):
    for k in range(50):
        append_failure(root, failure(f"{name}{k}", 1, "x" * 3000))


def test_many_writers(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append_many, args=(tmp_path, name)) for name in "pq"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read_failures(tmp_path)) == 100


def test_what_few_failures_have_is_in_their_lines_alone(tmp_path):
    odd = replace(
        failure("a"), traceback="Traceback …\nTypeError: no\n", retry=True, streams=("rgb", "flow")
    )
    append_failure(tmp_path, failure("b"))
    append_failure(tmp_path, odd)
    plain, whole = (tmp_path / "failures.jsonl").read_text().splitlines()
    assert json.loads(plain).keys() == Failure.__dataclass_fields__.keys() - {
        "traceback", "retry", "streams",
    }  # fmt: skip
    assert json.loads(whole)["retry"] is True
    assert read_failures(tmp_path) == {"a": odd, "b": failure("b")}


def test_a_traceback_may_have_the_name_of_a_file_that_is_not_utf_8(tmp_path):
    append_failure(tmp_path, replace(failure("a"), traceback="OSError: caf\udce9.mp4"))
    assert read_failures(tmp_path)["a"].traceback == r"OSError: caf\xe9.mp4"
