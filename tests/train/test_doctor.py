"""The training step of `flowkit doctor`, on the store that its other steps make."""

import os
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from flowkit.doctor import plugin_steps
from flowkit.doctor.finding import Finding
from flowkit.doctor.pipeline import LAST_TOPIC, TrialExtraction
from flowkit.doctor.steps import TrialStep, run_steps
from train.doctor import INDUCTOR_CACHE, check_training, make_recipe

ENTRY = EntryPoint("training", "train.doctor:check_training", plugin_steps.GROUP)


@pytest.fixture(scope="module")
def clip_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trial = TrialExtraction(tmp_path_factory.mktemp("trial"))
    assert {finding.status for finding in run_steps(trial.list_steps())} == {"ok"}
    return trial.store_path


def try_out(store: Path, folder: Path) -> Finding:
    run = partial(plugin_steps.run_plugin, ENTRY, store, folder)
    (finding,) = run_steps([TrialStep(ENTRY.name, run)])
    return finding


def test_a_step_of_each_branch_is_trained(
    clip_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(INDUCTOR_CACHE, raising=False)
    threads = torch.get_num_threads()
    finding = try_out(clip_store, tmp_path / "training")
    assert finding.status == "ok", finding
    assert "1 step for RGB and 1 for flow on" in finding.message
    for branch in ("rgb", "flow"):
        folder = tmp_path / "training/run/phases" / branch
        assert (folder / "weights.pt").is_file()
        assert len((folder / "steps.jsonl").read_text().splitlines()) == 1
    assert torch.get_num_threads() == threads
    assert INDUCTOR_CACHE not in os.environ


def test_the_recipe_is_one_step_an_epoch() -> None:
    recipe = make_recipe()
    assert (recipe.training.batch, recipe.training.epochs, recipe.iterations) == (2, 1, 0)


def test_a_loss_that_is_not_a_number_fails(
    clip_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "train.loop.epochs.measure_loss", lambda kind, scores, *_: scores.sum() * torch.nan
    )
    finding = try_out(clip_store, tmp_path / "training")
    assert finding.status == "fail"
    assert "gave a loss of nan" in finding.message


def test_an_interrupted_training_ends_the_command(
    clip_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.loop.session.train", lambda *_: False)
    with pytest.raises(KeyboardInterrupt):
        check_training(clip_store, tmp_path)


def test_a_check_waits_for_the_store_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = [ENTRY, EntryPoint("training", "train.doctor:check_training", plugin_steps.GROUP)]
    other = EntryPoint("other", "no_such_package:check", plugin_steps.GROUP)
    monkeypatch.setattr(plugin_steps, "entry_points", lambda group: [*twice, other])
    steps = plugin_steps.list_plugin_steps(tmp_path / "store", tmp_path, (LAST_TOPIC,))
    assert [(step.topic, step.required_topics) for step in steps] == [
        ("other", (LAST_TOPIC,)),
        ("training", (LAST_TOPIC,)),
    ]
    run = partial(plugin_steps.run_plugin, other, tmp_path, tmp_path / "x")
    failed, _ = run_steps([TrialStep(other.name, run), steps[1]])
    assert failed.message == "cannot be imported: No module named 'no_such_package'"


def test_the_entry_point_is_declared() -> None:
    import tomllib

    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    declared = tomllib.loads(text)["project"]["entry-points"][plugin_steps.GROUP]
    assert declared == {"training": ENTRY.value}
