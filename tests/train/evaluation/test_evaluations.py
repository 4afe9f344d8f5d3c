"""Test settings change after training; results and scores are kept beside the default ones."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

import train
from flowkit.errors import UsageError
from flowkit.store import Store
from train.commands.evaluate import evaluate as evaluate_command
from train.commands.evaluate import list_comparable
from train.commands.report import report
from train.evaluation.evaluations import derive_name, make_evaluation
from train.evaluation.results import (
    list_evaluations,
    list_score_names,
    load_run_scores,
    read_results,
    read_testing,
)
from train.loop.session import train as train_run
from train.report.figures.drawing import Source
from train.report.figures.frame_counts import measure_accuracies
from train.report.figures.tables import list_iterations
from train.runs.phases import CONTROL_SCORINGS
from train.runs.run import RunError, Settings, create_run
from train.tasks.registry import find_task

SETTINGS = Settings(threads=1, workers=0)
QUICK = ["--workers", "0", "--threads", "1", "--device", "cpu"]
SHORT = {"iterations": 1, "training__epochs": 1, "testing__controls": "[]"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that the tests of this module share."""
    return tmp_path_factory.mktemp("evaluations")


@pytest.fixture(scope="module")
def trained(place, request):
    """A store, and a finished run with scores and results, that no test changes."""
    from tests.conftest import write_store
    from tests.train.conftest import TINY
    from train.recipe.recipe import change_recipe, read_recipe

    store = Store(write_store(place / "store", [f"video {n:02}" for n in range(12)], frames=9))
    changes = {key.replace("__", "."): str(value) for key, value in SHORT.items()}

    def make(name, **more):
        recipe = change_recipe(read_recipe("motion8_cma"), {**TINY, **changes, **more})
        run = create_run(place / name, recipe, store)
        train_run(run, store, SETTINGS, lambda text: None)
        return run

    run = make("run")
    make_evaluation(run, store, SETTINGS, {})
    return store, run, make


def call(*arguments, code=0):
    result = CliRunner().invoke(evaluate_command, [str(argument) for argument in arguments])
    if code:
        assert isinstance(result.exception, UsageError), result.output
        assert result.exception.exit_code == code
        assert "\n" not in str(result.exception)
        return str(result.exception)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def load_all(run, evaluation=None):
    names = list_score_names(run, evaluation)
    assert len(names) == 6
    return {name: load_run_scores(run, name, evaluation) for name in names}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, scores in one.items():
        assert scores.ids == other[name].ids
        for field in ("labels", "logits", "softmax"):
            np.testing.assert_array_equal(getattr(scores, field), getattr(other[name], field))


def test_the_scores_are_those_of_a_run_that_was_trained_with_the_settings(trained):
    store, run, make = trained
    changes = {
        "testing.segments": "3",
        "testing.crops": "three",
        "testing.over": "softmax",
        "testing.views": "max",
        "testing.fusion": "{iter_0: [2, 1]}",
    }
    made = make_evaluation(run, store, SETTINGS, changes, "other")
    other = make("trained", **changes)
    expected = make_evaluation(other, store, SETTINGS, {})
    assert_equal(load_all(run, "other"), load_all(other))
    assert made.scores == expected.scores
    assert made.costs == expected.costs
    assert read_testing(run, "other") == other.recipe.testing
    kept = read_results(run, "other")
    assert kept["changes"].keys() == changes.keys()
    assert kept["made_with"]["store"]["created"] == store.header.created
    assert kept["made_with"]["settings"] == {"device": "cpu", "precision": "float32"}
    unlike = load_run_scores(run, "iter_1/rgb").logits
    assert not np.array_equal(unlike, load_run_scores(run, "iter_1/rgb", "other").logits)


def test_the_default_evaluation_stays_as_it_was(trained):
    store, run, _ = trained
    files = [run.path / "results.json", *sorted((run.path / "scores").rglob("*.npz"))]
    before = [path.read_bytes() for path in files]
    made = make_evaluation(run, store, SETTINGS, {"testing.segments": "1"})
    assert made.name == "segments=1"
    assert [path.read_bytes() for path in files] == before
    default = read_results(run)
    assert set(default) == {"scores", "costs", "paper", "reported"}
    assert set(default["costs"]["one branch"]) >= {"parameters", "ratio"}


def test_an_evaluation_of_the_same_name_needs_the_same_settings(trained):
    store, run, _ = trained
    make_evaluation(run, store, SETTINGS, {"testing.segments": "1"}, "same")
    make_evaluation(run, store, SETTINGS, {"testing.segments": "1"}, "same")
    before = (run.path / "evaluations/same/results.json").read_bytes()
    with pytest.raises(UsageError, match=r"'same' with other test settings \(segments: 1 → 2\)"):
        make_evaluation(run, store, SETTINGS, {"testing.segments": "2"}, "same")
    assert (run.path / "evaluations/same/results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("dataset", "changes", "kept"),
    [
        (None, {}, True),
        (None, {"testing.segments": "1"}, False),
        ("another", {}, False),
    ],
)
def test_results_of_the_paper_belong_to_its_dataset_and_settings(trained, dataset, changes, kept):
    store, run, _ = trained
    paper = {"iter_1/rgb": (50.0,)}
    recipe = replace(run.recipe, reported=paper, dataset=dataset or store.header.dataset)
    name = f"reported-{dataset}-{len(changes)}"
    made = make_evaluation(run.with_recipe(recipe), store, SETTINGS, changes, name)
    assert made.run.recipe.reported == (paper if kept else {})
    (table,) = list_iterations(Source(run=run, evaluation=name))
    assert ("[50.00]" in str(table.rows)) is kept
    assert ("In brackets" in table.caption) is kept


def test_an_interrupted_evaluation_leaves_what_was_there(trained):
    store, run, _ = trained
    make_evaluation(run, store, SETTINGS, {"testing.segments": "1"}, "kept")
    before = load_all(run, "kept")

    def interrupt(name):
        if name.startswith("iter_1"):
            raise KeyboardInterrupt
        return lambda done, total: None

    for name in ("kept", "new"):
        with pytest.raises(KeyboardInterrupt):
            make_evaluation(run, store, SETTINGS, {"testing.segments": "1"}, name, interrupt)
    assert_equal(load_all(run, "kept"), before)
    assert "new" not in list_evaluations(run)
    assert not (run.path / "evaluations/new").exists()
    with pytest.raises(RunError, match=r"has no evaluation 'new'; it has .*kept"):
        read_results(run, "new")


def test_a_kill_while_one_evaluation_replaces_another_loses_neither(trained, monkeypatch):
    store, run, _ = trained
    make_evaluation(run, store, SETTINGS, {"testing.segments": "1"}, "replaced")
    before, rename = load_all(run, "replaced"), Path.rename
    calls = []

    def stop(path, target):
        calls.append(path.name)
        if path.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        make_evaluation(run, store, SETTINGS, {"testing.segments": "1"}, "replaced")
    assert calls == ["replaced", ".replaced.part"]
    monkeypatch.undo()

    def interrupt(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_evaluation(run, store, SETTINGS, {"testing.segments": "1"}, "replaced", interrupt)
    assert_equal(load_all(run, "replaced"), before)


def test_the_command_names_lists_and_fuses(trained):
    store, run, _ = trained
    said = call(run.path, "--store", store.path, "--set", "testing.crops=three", "--name", "wide",
                *QUICK)  # fmt: skip
    assert "evaluation 'wide' (testing.crops=three)" in said
    assert "GFLOPs/view" in said
    listed = call(run.path, "--list")
    assert "(default)" in listed
    assert "testing.crops=three" in listed
    kept = json.loads(call(run.path, "--list", "--json"))
    assert kept["wide"]["testing"]["crops"] == "three"
    with pytest.raises(RunError, match="has no evaluation 'none'"):
        evaluate_command([str(run.path), "--list", "--name", "none"], standalone_mode=False)
    one = call(run.path, "--list", "--name", "wide")
    assert "wide" in one and "(default)" not in one
    recipe_weights = json.loads(call(run.path, "--fusion", "5:1", "--json"))
    assert recipe_weights["iter_1/fusion"] == read_results(run)["scores"]["iter_1/fusion"]
    only_rgb = json.loads(call(run.path, "--fusion", "1:0", "--name", "wide", "--json"))
    assert only_rgb["iter_0/fusion"] == read_results(run, "wide")["scores"]["iter_0/rgb"]
    assert "iter_1/fusion" in call(run.path, "--fusion", "1:5")


def test_scores_that_represent_an_evaluation():
    """Neither control experiments nor single splits are compared, however good they are."""
    assert list_comparable(["split_1/rgb", "split_2/rgb", "mean/rgb"]) == ["mean/rgb"]
    for prefix in ("", "mean/"):
        names = [f"{prefix}iter_1/rgb", *(f"{prefix}{name}/rgb" for name in CONTROL_SCORINGS)]
        assert list_comparable(names) == [f"{prefix}iter_1/rgb"]
    assert list_comparable(["uniform weights/rgb"]) == ["uniform weights/rgb"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "training.epochs=3"], "training.epochs: cannot change after .*testing.segments"),
        (
            ["--set", "testing.segmnets=3"],
            "testing.segmnets: cannot .*did you mean|testing.segments",
        ),
        (["--set", "testing.segments=0"], "testing.segments"),
        (["--set", "testing.crops=four"], "testing.crops"),
        (["--set", "testing.segments"], "--set expects NAME=VALUE"),
        (["--set", "testing.segments=500"], "has 1[0-9] different snippets.*use at most 1"),
        (["--set", "testing.controls=[uniform]"], "without the phase uniform"),
        (["--name", "../up"], "--name '../up': expected"),
        (["--name", ".hidden"], "--name '.hidden': expected"),
    ],
)
def test_wrong_settings_are_refused_before_a_network_runs(trained, monkeypatch, arguments, message):
    store, run, _ = trained
    monkeypatch.setattr("train.evaluation.scoring.score_batches", None)
    with pytest.raises(UsageError, match=message):
        raise UsageError(call(run.path, "--store", store.path, *arguments, *QUICK, code=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fusion", "5"], "--fusion '5': expected the weights"),
        (["--fusion", "5:1:2"], "expected the weights"),
        (["--fusion", "a:b"], "expected the weights"),
        (["--fusion=-1:2"], "each at least 0"),
        (["--fusion", "0:0"], "not both"),
        (["--fusion", "nan:1"], "expected the weights"),
        (["--fusion", "1:1", "--name", "none"], "has no evaluation 'none'"),
        (["--fusion", "1:1", "--store", "S"], "leave out --store"),
        (["--fusion", "1:1", "--set", "testing.segments=1"], "leave out --set"),
        (["--list", "--fusion", "1:1"], "leave out --fusion"),
        ([], "expected --store"),
    ],
)
def test_wrong_fusions_are_refused(trained, arguments, message):
    _, run, _ = trained
    assert message in call(run.path, *arguments, code=2)


def test_a_run_without_scores_or_with_one_branch_has_no_fusion(tmp_path, store, begin):
    run = begin(iterations=0, testing__controls="[]")
    assert "run flowkit evaluate first" in call(run.path, "--fusion", "1:1", code=2)
    alone = begin("alone", iterations=0, testing__controls="[]", streams="[rgb]")
    assert "trains rgb alone" in call(alone.path, "--fusion", "1:1", code=2)


def test_frames_that_are_smaller_than_the_crops_are_refused(trained, make_store, tmp_path):
    _, run, _ = trained
    small = Store(make_store([f"video {n:02}" for n in range(12)], tmp_path / "s", frames=9,
                             width=18, height=12))  # fmt: skip
    with pytest.raises(UsageError, match=r"crops of 16×16 pixels.* is 12; use a store of larger"):
        make_evaluation(run, small, SETTINGS, {})


def test_a_subset_without_videos_is_named(trained, monkeypatch):
    store, run, _ = trained
    monkeypatch.setattr(Store, "subset", lambda self, name: np.array([], np.int64))
    with pytest.raises(UsageError, match="subset 'test' has no videos to score"):
        make_evaluation(run, store, SETTINGS, {"testing.segments": "3"}, "empty")


def test_python_has_the_arguments_of_the_command(trained):
    store, run, _ = trained
    results = train.evaluate(
        run.path, store, name="api", workers=0, threads=1, device="cpu", batch=3,
        testing__segments=1,
    )  # fmt: skip
    assert results == read_results(run, "api")["scores"]
    one_by_one = make_evaluation(run, store, SETTINGS, {"testing.segments": "1"}, "api")
    for name, scores in load_all(run, "api").items():
        assert scores.ids == tuple(store.index.id(int(row)) for row in store.subset("test"))
        assert one_by_one.scores[name]["n"] == 4
    with pytest.raises(UsageError, match="seed: cannot change after training"):
        train.evaluate(run.path, store, seed=3)


def test_batches_and_precision_change_scores_by_rounding_only(trained):
    store, run, _ = trained
    expected = load_all(run)
    for name, settings, tolerance in (
        ("batch", Settings(test_batch=3), 1e-5),
        ("bfloat16", Settings(precision="bfloat16"), 0.1),
    ):
        make_evaluation(run, store, settings, {}, name)
        for score, scores in load_all(run, name).items():
            assert scores.ids == expected[score].ids
            np.testing.assert_allclose(scores.logits, expected[score].logits, atol=tolerance)
    half = load_run_scores(run, "iter_0/rgb", "bfloat16").logits
    assert not np.array_equal(half, expected["iter_0/rgb"].logits)


@pytest.mark.parametrize(
    ("precision", "reason"),
    [("float16", "beyond the range of --precision float16: use float32"),
     ("bfloat16", "weights are damaged, or the training diverged")],
)  # fmt: skip
def test_scores_that_are_not_finite_are_refused(trained, monkeypatch, precision, reason):
    store, run, _ = trained
    score = type(find_task(run.recipe)).test_scores

    def overflow(*arguments):
        return {branch: logits / 0 for branch, logits in score(*arguments).items()}

    monkeypatch.setattr(type(find_task(run.recipe)), "test_scores", overflow)
    with pytest.raises(RunError, match=rf"scores of 4 videos are not finite.*{reason}"):
        make_evaluation(run, store, Settings(precision=precision), {}, "overflow")


def test_frames_are_scored_with_the_options_of_the_report(trained, monkeypatch):
    store, run, _ = trained
    seen, sources = [], []

    def score(changed, scoring, store, settings, processes=None):
        seen.append((changed.recipe.testing.segments, settings))
        return {"rgb": load_run_scores(run, "iter_0/rgb")}

    monkeypatch.setattr("train.report.figures.frame_counts.score_phases", score)
    monkeypatch.setattr("train.report.figures.frame_counts.COUNTS", (1, 3))
    monkeypatch.setattr(
        "train.report.report.write_report", lambda source, figures: sources.append(source) or []
    )
    options = ["--precision", "bfloat16", "--batch", "2", *QUICK]
    arguments = [str(run.path), "frames", "--store", str(store.path), *options]
    result = CliRunner().invoke(report, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    accuracies = measure_accuracies(run, sources[0])
    expected = Settings(precision="bfloat16", test_batch=2)
    assert seen == [(1, expected), (3, expected)]
    assert accuracies["iter_0/rgb"] == [100 * read_results(run)["scores"]["iter_0/rgb"]["top1"]] * 2


def test_names_are_made_of_the_changes():
    changes = {"testing.segments": "10", "testing.fusion.odd": "[3, 1]", "testing.crops": "centre"}
    assert derive_name(changes) == "crops=centre+fusion.odd=-3-1-+segments=10"


@pytest.mark.slow
def test_several_processes_score_as_one_does(trained, monkeypatch):
    store, run, _ = trained
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    seen = []

    def progress(name):
        return lambda done, total: seen.append((name, done, total))

    two = Settings(processes=2)
    made = make_evaluation(run, store, two, {}, "two", progress)
    assert_equal(load_all(run, "two"), load_all(run))
    assert made.scores == read_results(run)["scores"]
    assert [done for name, done, _ in seen if name == "iter_1: rgb and flow"] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_of_one_line(trained, monkeypatch):
    store, run, _ = trained
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def progress(name):
        def kill(done, total):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # some end by themselves meanwhile
                    if "ScoringActor" in " ".join(child.cmdline()):
                        child.kill()

        return kill

    with pytest.raises(RunError, match="a process that scores videos died") as caught:
        make_evaluation(run, store, Settings(processes=2), {}, "dead", progress)
    assert "\n" not in str(caught.value)
    assert "dead" not in list_evaluations(run)
