"""Damaged files of a run end in one line that names the file."""

import json

import pytest
import torch

from train.evaluation.results import read_results
from train.loop.checkpoint import read_tensors, write_tensors
from train.runs.journal import read_lines
from train.runs.run import Run, RunError


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "1"}, {"classes": None}, {"classes": [1]}, {"store": []},
        {"store": {"path": 3}}, {"store_recipe": {"resize": 3}}, {"store_recipe": None},
        {"sessions": 5}, {"sessions": [1]},
    ],
)  # fmt: skip
def test_damaged_facts(begin, changes):
    run = begin()
    path = run.path / "run.json"
    facts = json.loads(path.read_bytes())
    path.write_text(json.dumps(facts | changes))
    with pytest.raises(RunError, match=r"run\.json is damaged \(.*restore it") as error:
        Run(run.path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format": 1'])
def test_facts_that_are_no_object(begin, content):
    run = begin()
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        Run(run.path)


def test_a_run_of_another_version(begin):
    run = begin()
    path = run.path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"format": 2}))
    with pytest.raises(RunError, match="another version"):
        Run(run.path)


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"step": \xff}', b"null"])
def test_damaged_lines_of_a_journal(tmp_path, line):
    path = tmp_path / "steps.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b"\n")
    with pytest.raises(RunError, match=r"steps\.jsonl is damaged"):
        read_lines(path)


def test_the_last_line_of_a_journal_may_be_incomplete(tmp_path):
    path = tmp_path / "steps.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": \xff')
    assert read_lines(path) == [{"step": 1}]
    assert read_lines(tmp_path / "absent.jsonl") == []


def test_a_changed_weight_is_noticed(tmp_path):
    """torch.load reads it without a word."""
    path = tmp_path / "weights.pt"
    write_tensors(path, {"layer.weight": torch.full((300,), 0.5)})
    content = bytearray(path.read_bytes())
    start = content.index(torch.full((300,), 0.5).numpy().tobytes())
    content[start + 403] ^= 64
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)["layer.weight"], torch.full((300,), 0.5))
    with pytest.raises(RunError, match=r"weights\.pt cannot be read: the checksum"):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x80\2}.", b"PK\5\6" + bytes(18)])
def test_files_that_are_no_archive(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"weights\.pt cannot be read"):
        read_tensors(path)


@pytest.mark.parametrize(
    "results", [[], {}, {"scores": []}, {"scores": {"rgb": 3}}, {"scores": {}, "costs": 1}, None]
)
def test_damaged_results(begin, results):
    run = begin()
    (run.path / "results.json").write_text(json.dumps(results))
    with pytest.raises(RunError, match=r"results\.json is damaged .*flowkit evaluate again"):
        read_results(run)
