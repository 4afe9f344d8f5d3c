"""The user chooses scores, phases and figures; what a run lacks is said in one line."""

import os
import re
import shutil

import pytest
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.path_text import printable_path
from flowkit.web.keys import make_name_key
from train.report.figures import FIGURES, Source
from train.report.figures.epochs import choose_phase
from train.report.report import write_report
from train.runs.run import Run


def draw(name, **options):
    (drawing, *_) = FIGURES[name](Source(**options))
    return drawing


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        (
            "two streams",
            ["--score", "audio"],
            "no scores of videos named 'audio'; it has rgb, flow",
        ),
        ("two streams", ["--phase", "iter_1"], "has no phase 'iter_1'; it has flow, rgb"),
        ("two streams", ["--evaluation", "fast"], "has no evaluation 'fast'; it has none"),
        ("two streams", ["classes"], "classes cannot be drawn: there is nothing to compare fusion"),
        ("two streams", ["gains", "--against-score", "fusion"], "cannot be compared with itself"),
        ("two streams", ["epochs"], "epochs cannot be drawn: .* give --beside RUN"),
        ("two streams", ["attention"], "attention cannot be drawn: no network of .* has cross"),
        ("two streams", ["receptive"], "receptive cannot be drawn: .* has no pyramid attention"),
        ("two streams", ["weights"], "weights cannot be drawn: .* has no attention over feature"),
        ("pyramid", ["receptive"], "receptive cannot be drawn: .* give --store STORE"),
        ("pyramid", ["frames"], "frames cannot be drawn: .* give --store STORE"),
        ("clusters", ["heaviest"], "heaviest cannot be drawn: .* give --store STORE"),
        ("clusters", ["weights", "--store", "STORE", "--video", "x"], "x: not in the subset"),
        ("clusters", ["fusion"], "fusion cannot be drawn: .* does not fuse"),
    ],
)
def test_bad_choices_are_one_line_and_exit_code_2(make_kind, videos, kind, words, message):
    run = make_kind(kind)
    words = [str(videos.path) if word == "STORE" else word for word in words]
    result = CliRunner().invoke(main, ["report", str(run.path), "--device", "cpu", *words])
    assert result.exit_code == 2, result.output
    (line,) = result.output.strip().splitlines()
    assert re.search(message, line), line


def test_figures_that_are_not_named_are_left_out(make_kind):
    run = make_kind("two streams")
    written = {path.name for path in write_report(Source(run=run))}
    assert written == {
        "iterations.md", "parameters.md", "fusion.png", "accuracies.png", "confusion.png",
        "curves.png", "report.html",
    }  # fmt: skip


def test_a_figure_that_is_named_twice_is_shown_once(make_kind):
    run = make_kind("two streams")
    write_report(Source(run=run), ["accuracies", "parameters", "accuracies"])
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert page.count('<figure id="accuracies">') == 1


def test_figures_show_the_score_of_the_papers_figure_or_the_named_one(make_kind):
    run = make_kind("CMA")
    for name in ("accuracies", "confusion"):
        assert "iter_1/rgb" in draw(name, run=run).caption
        assert "iter_2/flow" in draw(name, run=run, score="iter_2/flow").caption
    assert "iter_1/rgb over iter_0/fusion" in draw("classes", run=run).caption
    table = draw("iterations", run=run, score="iter_2/flow").rows
    assert [row[0] for row in table] == ["", "iter_2"] and table[0][1] == "flow"
    costs = draw("parameters", run=run, score="iter_1/rgb").rows[1:]
    assert {row[0].partition(",")[0] for row in costs} == {"iter_1/rgb"}
    top1 = f"{100 * Source(run=run).results()['scores']['iter_1/rgb']['top1']:.2f}"
    assert {row[-1] for row in costs} == {top1}
    lines = draw("fusion", run=run, score="iter_1/rgb").figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["iter_1"]
    split = make_kind("splits")
    assert "split_1/fusion" in draw("accuracies", run=split).caption


def test_phases_are_those_of_the_paper_or_the_named_one(make_kind):
    run, other = make_kind("CMA"), make_kind("CMA", 1)
    source = Source(run=run, beside=(other,))
    assert choose_phase(source, run).name == "iter_1"  # not the last one
    assert "phase iter_1." in draw("epochs", run=run, beside=(other,)).caption
    assert "phase flow." in draw("epochs", run=run, beside=(other,), phase="flow").caption
    lines = draw("curves", run=run, phase="iter_2").figure.axes[1].lines
    assert {line.get_label() for line in lines if line.get_label()[0] != "_"} == {"iter_2"}


def test_a_run_behind_a_link_whose_folder_is_not_utf_8(make_kind, tmp_path):
    """The web view opens the folder that the link leads to."""
    folder = tmp_path / os.fsdecode(b"a\xff")
    shutil.copytree(make_kind("two streams").path, folder)
    (tmp_path / "link").symlink_to(folder)
    for path in (folder, tmp_path / "link"):
        write_report(Source(run=Run(path)), ["parameters"])
        page = (path / "report.html").read_text(encoding="utf-8")
        assert f"/runs/{make_name_key(printable_path(folder.name))}" in page
