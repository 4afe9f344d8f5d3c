"""The commands from end to end, on a store of twelve small videos."""

import json

import pytest
import torch
from click.testing import CliRunner

from flowkit.cli import find_plugin_commands
from flowkit.errors import UsageError, VideoError
from train.commands.evaluate import evaluate
from train.commands.predict import predict
from train.commands.recipes import recipes
from train.commands.report import report
from train.commands.train import train
from train.recipe.recipe import list_recipes
from train.runs.run import Run, RunError

QUICK = ["--workers", "0", "--threads", "1", "--device", "cpu"]


def call(command, *arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.output


@pytest.fixture
def settings(tiny_changes):
    """Options that make motion8_cma tiny."""
    changed = {**tiny_changes, "training.epochs": "1"}
    return [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture
def finished(tmp_path, store, settings):
    run = tmp_path / "run"
    code, _ = call(train, "motion8_cma", "--store", store.path, "--run", run, *settings, *QUICK)
    assert code == 0
    return run


def test_they_join_the_command_line():
    assert {"train", "evaluate", "predict", "report", "recipes"} <= set(find_plugin_commands())


def test_training_stops_goes_on_and_is_evaluated(tmp_path, store, settings):
    run = tmp_path / "run"
    command = [train, "motion8_cma", "--store", store.path, "--run", run, "--seed", "3",
               *settings, *QUICK]  # fmt: skip
    code, said = call(*command, "--stop-after", "3")
    assert code == 0
    assert "run the same command again to continue" in said
    with pytest.raises(RunError, match="is not finished"):
        call(evaluate, run, "--store", store.path, *QUICK)
    code, said = call(*command)
    assert "resuming at step 1" in said
    assert f"flowkit evaluate {run}" in said
    assert Run(run).recipe.seed == 3
    assert [session["threads"] for session in Run(run).facts["sessions"]] == [1, 1]
    code, said = call(evaluate, run, "--store", store.path, "--json", *QUICK)
    scores = json.loads(said)
    assert scores["iter_1/rgb"].keys() == {"top1", "top5", "mean_class", "n"}
    code, said = call(evaluate, run, "--store", store.path, *QUICK)
    assert "iter_1, flow of another class/rgb" in said
    assert "identities dropped" in said


def test_a_signal_sets_the_exit_status_also_with_stop_after(tmp_path, store, settings, monkeypatch):
    def train_until_signal(run, store, settings, log, stop):
        stop.signalled = True
        return False

    monkeypatch.setattr("train.loop.session.train", train_until_signal)
    words = ["motion8_cma", "--store", str(store.path), "--run", str(tmp_path / "run"), *settings,
             "--stop-after", "3", *QUICK]  # fmt: skip
    result = CliRunner().invoke(train, words, catch_exceptions=False, standalone_mode=False)
    assert result.return_value == 130
    assert "run the same command again to continue" in result.output


def test_the_report_has_every_figure_and_fetches_nothing(finished, store, tmp_path, settings):
    with pytest.raises(RunError, match="run flowkit evaluate first"):
        call(report, finished)
    call(evaluate, finished, "--store", store.path, *QUICK)
    other = tmp_path / "other"
    call(train, "motion8_cma", "--store", store.path, "--run", other, "--seed", "1",
         *settings, *QUICK)  # fmt: skip
    call(evaluate, other, "--store", store.path, *QUICK)
    code, said = call(report, finished, "--store", store.path, "--against", other)
    assert code == 0
    names = {path.name for path in (finished / "figures").iterdir()}
    assert names == {
        "iterations.md", "parameters.md", "fusion.png", "classes.png", "confusing-pairs.md",
        "gains.png", "accuracies.png", "confusion.png", "attention.png", "curves.png",
    }  # fmt: skip
    for path in (finished / "figures").glob("*.png"):
        assert path.read_bytes()[:4] == b"\x89PNG"
    assert "| iter_1 " in said
    page = (finished / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    link = 'href="http://127.0.0.1:8080/'  # to the page of flowkit view: fetched by a click alone
    assert page.count(link) == 1
    assert "http" not in page.replace("http-equiv", "").replace(link, "")
    assert "src=" in page
    assert "<script" not in page
    assert "training" in page


def test_single_figures_and_what_they_refuse(finished, store):
    call(evaluate, finished, "--store", store.path, *QUICK)
    code, _ = call(report, finished, "iterations")
    assert code == 0
    assert not (finished / "figures" / "fusion.png").exists()
    with pytest.raises(UsageError, match="no figure 'fushion'; did you mean 'fusion'"):
        call(report, finished, "fushion")
    with pytest.raises(UsageError, match="numbers from 0 to 1"):
        call(report, finished, "attention", "--store", store.path, "--point", "3", "0.5")
    with pytest.raises(UsageError, match="not in the subset"):
        call(report, finished, "attention", "--store", store.path, "--video", "video 01")
    code, _ = call(report, finished, "attention", "--store", store.path, "--video", "video 03")
    assert code == 0


def test_a_video_file_is_classified(finished, make_clip, tmp_path):
    video = make_clip(tmp_path / "some clip.mp4", frames=12)
    out = tmp_path / "p.png"
    code, said = call(predict, finished, video, "-o", out, "--backend", "numba", "--json", *QUICK)
    assert code == 0
    top = json.loads(said)
    assert set(top) == {"wave", "jump high"}
    assert sum(top.values()) == pytest.approx(1, abs=1e-5)
    assert list(top.values()) == sorted(top.values(), reverse=True)
    assert out.read_bytes()[:4] == b"\x89PNG"
    again = json.loads(call(predict, finished, video, "-o", out, "--backend", "numba", "--json",
                            *QUICK)[1])  # fmt: skip
    assert again == top


def test_what_cannot_be_classified(finished, tmp_path):
    with pytest.raises(UsageError, match="expected a video file"):
        call(predict, finished, tmp_path / "absent.mp4", *QUICK)
    with pytest.raises(UsageError, match=r"is a folder without images; name one video in it"):
        call(predict, finished, tmp_path, *QUICK)
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    with pytest.raises(VideoError, match=r"notes\.mp4") as error:
        call(predict, finished, text, "--backend", "numba", *QUICK)
    assert str(error.value).count("notes.mp4") == 1


def test_recipes_are_listed_and_printed():
    _, said = call(recipes)
    for name in list_recipes():
        assert name in said
    rows = json.loads(call(recipes, "--json")[1])
    assert {row["name"] for row in rows} == set(list_recipes())
    assert "iterations: 3" in call(recipes, "kinetics_cma")[1]


def test_weights_and_runs_that_are_here_are_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data" / "weights" / "bn_inception-52deb4733.pth"
    phase = tmp_path / "runs" / "kinetics_i3d" / "phases" / "rgb"
    for path in (file, phase / "weights.pt"):
        path.parent.mkdir(parents=True)
        path.touch()
    here = {row["name"]: row["here"] for row in json.loads(call(recipes, "--json")[1])}
    assert here["charades_pyramid"] == {"store": None, "weights bn_inception": str(file)}
    own = "runs/kinetics_i3d/phases/rgb"
    assert here["hmdb51_i3d"] == {"store": None, f"weights {own}": f"{own}/weights.pt"}
    assert here["kinetics_p3d_12"] == {
        "store": None, "weights p3d_rgb_199": None, "weights p3d_flow_199": None,
    }  # fmt: skip
    said = call(recipes)[1]
    assert f"here: weights bn_inception ({file}); not here: store" in said
    assert "here: nothing; not here: store, weights p3d_rgb_199" in said


def test_wrong_options(tmp_path, store):
    command = [train, "motion8_cma", "--store", store.path, "--run", tmp_path / "r"]
    for arguments, reason in [
        (["--set", "training.epochs"], "--set expects NAME=VALUE, got 'training.epochs'"),
        (["--set", "a=1", "--set", "a=2"], "--set a is given twice, with different values"),
        (["--weights", "rgb"], "--weights expects NAME=VALUE"),
        (["--set", "training.epcohs=3"], "did you mean 'epochs'"),
        (["--weights", "audio=x"], "network.weights.audio"),
        (["--stop-after", "3", "--processes", "2"], "for one process"),
    ]:
        with pytest.raises(UsageError, match=reason):
            call(*command, *arguments, *QUICK)
    assert not (tmp_path / "r").exists()
