"""Figures by class show the classes that the tested videos have, with their names."""

import numpy as np

from train.report.figures.classes import (
    MAX_NAMED,
    draw_accuracies,
    draw_confusion,
    shorten_names,
)
from train.report.figures.drawing import Source
from train.report.report import format_png

CLASSES = ("bow", "clap", "run", "sit", "wave")


def read_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_the_confusion_matrix_has_the_tested_classes(make_run):
    run = make_run([1, 1, 3, 3, 3], [1, 3, 3, 3, 1])
    (drawing,) = draw_confusion(Source(run=run))
    axes = drawing.figure.axes[0]
    assert read_labels(axes.xaxis) == read_labels(axes.yaxis) == ["clap", "sit"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[1 / 2, 1 / 2], [1 / 3, 2 / 3]])
    assert "2 of the 5 classes occur in the tested videos" in drawing.caption
    assert "last column" not in drawing.caption


def test_predictions_of_other_classes_are_a_column_of_their_own(make_run):
    run = make_run([1, 1, 3, 3], [0, 1, 3, 4])
    (drawing,) = draw_confusion(Source(run=run))
    axes = drawing.figure.axes[0]
    assert read_labels(axes.xaxis) == ["clap", "sit", "other classes"]
    assert read_labels(axes.yaxis) == ["clap", "sit"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.5, 0, 0.5], [0, 0.5, 0.5]])
    assert "last column counts the predictions of other classes" in drawing.caption


def test_a_matrix_of_all_classes_says_nothing_of_others(make_run):
    run = make_run(range(5), range(5))
    (drawing,) = draw_confusion(Source(run=run))
    assert read_labels(drawing.figure.axes[0].xaxis) == list(CLASSES)
    assert drawing.caption == "Confusion matrix of fusion."


def test_names_are_shown_where_they_fit(make_run):
    many = tuple(f"class {n}" for n in range(400))
    few = make_run(range(MAX_NAMED), range(MAX_NAMED), many)
    for draw in (draw_confusion, draw_accuracies):
        axes = draw(Source(run=few))[0].figure.axes[0]
        assert read_labels(axes.xaxis) == list(many[:MAX_NAMED])  # 40 of the 400 classes fit
    more = make_run(range(MAX_NAMED + 1), range(MAX_NAMED + 1), many)
    for draw in (draw_confusion, draw_accuracies):
        axes = draw(Source(run=more))[0].figure.axes[0]
        assert not {"class 0", "class 1"} & set(read_labels(axes.xaxis))


def test_long_names_are_shortened():
    shortened = shorten_names(["x" * 28, "y" * 29])
    assert shortened.tolist() == ["x" * 28, "y" * 27 + "…"]


def test_dollar_signs_are_no_formulas(make_run):
    run = make_run([0, 1], [0, 1], ("$\\x$ or more", "b"))
    for draw in (draw_confusion, draw_accuracies):
        (drawing,) = draw(Source(run=run))
        assert format_png(drawing)[:4] == b"\x89PNG"


def test_accuracies_are_sorted_and_named(make_run):
    run = make_run([1, 1, 3, 3, 4], [1, 0, 3, 3, 0])
    (drawing,) = draw_accuracies(Source(run=run))
    axes = drawing.figure.axes[0]
    assert read_labels(axes.xaxis) == ["sit", "clap", "wave"]
    assert [bar.get_height() for bar in axes.patches] == [100, 50, 0]
