"""Two scores, of one run or of two, are compared class by class, as in the papers."""

import io

import numpy as np
import pytest

from flowkit.errors import UsageError
from train.evaluation.scores import Scores
from train.report.figures.comparison import draw_classes, draw_gains, measure_gains
from train.report.figures.drawing import NotApplicable, Source
from train.report.figures.sides import load_sides

LABELS = [1, 1, 3, 3, 4]
RIGHT, WRONG = LABELS, [0, 0, 0, 0, 0]


def read_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def get_names(source):
    return tuple(side.name for side in load_sides(source))


@pytest.fixture
def cma(make_run):
    """A run with two iterations, whose scores of iteration 1 are right."""
    ours = dict.fromkeys(("iter_1__rgb", "iter_1__flow", "iter_1__fusion"), RIGHT)
    baseline = {"iter_0__rgb": WRONG, "iter_0__flow": [1, 0, 3, 3, 0], "iter_0__fusion": WRONG}
    last = {"iter_2__rgb": WRONG, "iter_2__flow": WRONG, "iter_2__fusion": WRONG}
    return make_run(LABELS, name="cma", **baseline, **ours, **last)


def test_only_tested_classes_that_improved_are_shown(make_run):
    run = make_run(LABELS, [1, 1, 3, 0, 4])
    other = make_run(LABELS, [1, 0, 3, 3, 4], name="other")
    source = Source(run=run, against=other)
    improved, _ = draw_classes(source)
    assert read_labels(improved.figure.axes[0].xaxis) == ["clap"]
    assert "The class that improved most of 3 tested ones" in improved.caption
    (gains,) = draw_gains(source)
    assert read_labels(gains.figure.axes[0].yaxis) == ["clap", "sit"]
    assert "Of the 3 tested classes, 33.3 % are better and 33.3 % are worse" in gains.caption


def test_a_run_with_iterations_is_compared_as_in_the_paper(cma):
    """Table 3 and Fig. 4: CMA_iter1-R and the two-stream fusion, of this very run."""
    assert get_names(Source(run=cma)) == ("iter_1/rgb", "iter_0/fusion")
    classes, pairs = draw_classes(Source(run=cma))
    lines = {line.get_label(): line.get_ydata().tolist() for line in classes.figure.axes[0].lines}
    assert lines == {
        "iter_0/rgb": [0, 0, 0], "iter_0/flow": [50, 100, 0], "iter_0/fusion": [0, 0, 0],
        "iter_1/rgb": [100, 100, 100],
    }  # fmt: skip
    assert "iter_1/rgb over iter_0/fusion" in classes.caption
    assert pairs.rows[1:] == [
        ["clap", "bow", "100.0"], ["sit", "bow", "100.0"], ["wave", "bow", "100.0"],
    ]  # fmt: skip
    assert "rarer with iter_1/rgb than with iter_0/fusion" in pairs.caption


def test_any_two_scores_can_be_compared(cma):
    source = Source(run=cma, score="iter_2/flow", against_score="iter_0/flow")
    assert get_names(source) == ("iter_2/flow", "iter_0/flow")
    (figure, _) = draw_classes(source)
    assert figure.caption.startswith("None of the 3 tested classes improved")
    (other_way, _) = draw_classes(
        Source(run=cma, score="iter_0/flow", against_score="iter_2/flow", against=cma)
    )
    lines = other_way.figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["iter_2/flow", "iter_0/flow"]
    assert len(lines[0].get_ydata()) == 2  # clap and sit


def test_names_of_runs_in_the_legend(make_run):
    """A name may begin with an underscore, or have two dollar signs."""
    run = make_run(LABELS, [1, 1, 3, 0, 4], name="_a$x_$")
    other = make_run(LABELS, [1, 0, 3, 3, 4], name="b$_$")
    (improved, _) = draw_classes(Source(run=run, against=other))
    improved.figure.savefig(io.BytesIO())
    shown = [text.get_text() for text in improved.figure.legends[0].get_texts()]
    assert {text.partition(":")[0] for text in shown} == {r"b\$_\$", r" _a\$x_\$"}


@pytest.mark.parametrize(
    ("score", "against_score", "message"),
    [
        ("iter_3/rgb", None, r"--score.*no scores of videos named 'iter_3/rgb'; it has iter_0/rgb"),
        (None, "iter_9/rgb", r"--against-score.*'iter_9/rgb'; it has iter_0/rgb, iter_0/flow"),
        ("mean/rgb", None, "which is a mean over splits; it has iter_0/rgb"),
        ("iter_0/rgb", "iter_0/rgb", "cannot be compared with itself"),
    ],
)
def test_scores_that_a_run_lacks(cma, score, against_score, message):
    with pytest.raises(UsageError, match=message):
        load_sides(Source(run=cma, score=score, against_score=against_score))


def test_a_run_without_iterations_needs_something_to_compare_with(make_run):
    run = make_run(LABELS, RIGHT)
    with pytest.raises(NotApplicable, match=r"give --against RUN .*this run \(rgb, flow, fusion\)"):
        load_sides(Source(run=run))
    assert get_names(Source(run=run, against_score="rgb")) == ("fusion", "rgb")


def test_of_another_run_like_is_compared_with_like(cma, make_run):
    other = make_run(LABELS, name="other", iter_0__fusion=RIGHT, iter_1__rgb=RIGHT)
    assert get_names(Source(run=cma, against=other)) == ("iter_1/rgb", "iter_1/rgb")
    two_stream = make_run(LABELS, RIGHT, name="two")
    assert get_names(Source(run=cma, against=two_stream)) == ("iter_1/rgb", "fusion")
    (figure, _) = draw_classes(Source(run=two_stream, against=cma, against_score="iter_0/fusion"))
    titles = [line.get_label() for line in figure.figure.axes[0].lines]
    assert titles == ["cma: iter_0/rgb", "cma: iter_0/flow", "cma: iter_0/fusion", "two: fusion"]


def test_splits_are_compared_with_the_same_split(make_run):
    scores = {f"split_{n}__{branch}": RIGHT for n in (1, 2) for branch in ("rgb", "flow", "fusion")}
    run, other = (make_run(LABELS, name=name, **scores) for name in ("run", "other"))
    assert get_names(Source(run=run, against=other)) == ("split_1/fusion", "split_1/fusion")
    source = Source(run=run, against=other, score="split_2/rgb")
    assert get_names(source) == ("split_2/rgb", "split_2/fusion")


def test_videos_are_matched_by_their_ids(make_run):
    run = make_run(LABELS, RIGHT)
    ids, labels = ("v4", "v3", "v2", "v1", "v0"), LABELS[::-1]
    other = make_run(labels, [4, 0, 3, 1, 1], name="other", ids=ids)
    source = Source(run=run, against=other)
    gains = measure_gains(source, *load_sides(source))
    np.testing.assert_array_equal(gains.points[[1, 3, 4]], [0, 50, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS[:4], "predicted": RIGHT[:4]}, r"different videos \(5 and 4, 4 of them"),
        ({"ids": tuple("abcde")}, r"different videos \(5 and 5, 0 of them"),
        ({"labels": [1, 1, 3, 3, 3]}, "different labels of the same videos"),
        ({"classes": ("a", "b", "c", "d", "e")}, "have different classes"),
    ],
)
def test_runs_over_different_videos(make_run, changes, message):
    run = make_run(LABELS, RIGHT)
    other = make_run(**{"labels": LABELS, "predicted": RIGHT, "name": "other", **changes})
    for draw in (draw_classes, draw_gains):
        with pytest.raises(UsageError, match=message):
            draw(Source(run=run, against=other))


def test_each_run_is_measured_by_its_own_averages(make_run):
    """The logits of one video are right and its probabilities wrong; the other run uses those."""
    run, other = make_run([1], [1]), make_run([1], [1], name="other", over="softmax")
    right, wrong = (np.eye(5, dtype=np.float32)[[c]] for c in (1, 0))
    Scores(("v0",), np.array([1]), right, wrong).save(other.path / "scores" / "fusion.npz")
    source = Source(run=run, against=other)
    assert measure_gains(source, *load_sides(source)).points[1] == 100


def test_figures_say_that_nothing_changed(make_run):
    run, other = make_run(LABELS, RIGHT), make_run(LABELS, RIGHT, name="other")
    source = Source(run=run, against=other)
    (gains,) = draw_gains(source)
    assert gains.caption.startswith("The accuracy of no class changed: run: fusion over other")
    classes, pairs = draw_classes(source)
    assert classes.caption.startswith("None of the 3 tested classes improved")
    assert pairs.rows[1] == ["none", "–", "–"]
