"""Every figure is drawn from every kind of run: none fails, is empty, or has text cut off."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowkit.errors import UsageError
from tests.train.report.conftest import POSITIONS
from train.commands.report import report
from train.report.figures import FIGURES, Source
from train.report.figures.drawing import shorten_id
from train.report.report import write_report

ALWAYS = {"iterations", "parameters", "curves", "epochs"}
CLASSES = {"classes", "gains", "accuracies", "confusion"}
APPLICABLE = {
    "CMA": ALWAYS | CLASSES | {"fusion", "attention"},
    "CMA after non-local": ALWAYS | CLASSES | {"fusion", "attention"},
    "CMA of P3D": ALWAYS | CLASSES | {"fusion", "attention"},
    "CMA of I3D": ALWAYS | CLASSES | {"fusion", "attention"},
    "non-local": ALWAYS | CLASSES | {"fusion", "attention"},
    "two streams": ALWAYS | CLASSES | {"fusion"},
    "RGB alone": ALWAYS | CLASSES,
    "flow alone": ALWAYS | CLASSES,
    "clips of I3D": ALWAYS | CLASSES,
    "pyramid": ALWAYS | CLASSES | {"fusion", "receptive", "frames"},
    "many labels": ALWAYS | {"receptive", "frames"},
    "splits": ALWAYS | CLASSES | {"fusion"},
    "audio": ALWAYS | CLASSES,
    "clusters": ALWAYS | CLASSES | {"weights", "heaviest"},
    "CATNet": ALWAYS | CLASSES | {"weights", "heaviest"},
    "average of sets": ALWAYS | CLASSES,
}
"""The figures that apply to each kind of run."""
SLOW = {"CMA of I3D", "CMA after non-local", "clips of I3D", "flow alone"}
"""Kinds that resemble another one."""


def check_picture(figure):
    """Check that every axes shows something, and that no text is cut off."""
    picture = np.asarray(Image.open(io.BytesIO(format_png_of(figure))).convert("RGB"))
    assert (picture != picture[0, 0]).any(axis=2).mean() > 0.005
    drawn = [axes for axes in figure.axes if axes.images or axes.lines or axes.patches or axes.texts
             or axes.collections]  # fmt: skip
    assert drawn, "nothing is drawn"
    for axes in drawn:
        for line in axes.lines:
            x, y = line.get_data()
            assert len(x) == len(y) and np.isfinite(np.asarray(y, float)).all()
    frame, renderer = figure.bbox, figure.canvas.get_renderer()
    for text in list_texts(figure):
        box = text.get_window_extent(renderer)
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < frame.x1 + 1 and box.y1 < frame.y1 + 1
        assert inside, f"{text.get_text()!r} is cut off"


def list_texts(figure):
    """List the texts that a picture shows: titles, labels, legends, and ticks inside the axes."""
    texts = [*figure.texts]
    for legend in (*figure.legends, *(axes.get_legend() for axes in figure.axes)):
        texts += legend.get_texts() if legend is not None else []
    for axes in figure.axes:
        texts += [axes.title, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            texts += [axis.label, *(label for place, label in ticks if low <= place <= high)]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def format_png_of(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def check_table(rows):
    assert len(rows) > 1, "the table has no rows"
    assert {len(row) for row in rows} == {len(rows[0])}
    assert all(isinstance(cell, str) for row in rows for cell in row)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in APPLICABLE],
)
def test_every_figure_of_a_kind(make_kind, videos, kind, monkeypatch):
    monkeypatch.setattr("train.report.figures.frame_counts.COUNTS", (1, 3))
    run, other = make_kind(kind), make_kind(kind, 1)
    shown = tuple(videos.index.id(int(row)) for row in videos.subset("test")[:2])
    source = Source(
        run=run, store=videos, against=other, beside=(other,), videos=shown, points=((0.3, 0.6),)
    )
    for name in FIGURES:
        if name not in APPLICABLE[kind]:
            with pytest.raises(UsageError, match=f"^{name} cannot be drawn: ") as error:
                write_report(source, [name])
            assert "\n" not in str(error.value)
            continue
        drawings = FIGURES[name](source)
        assert drawings, name
        for drawing in drawings:
            assert drawing.caption.endswith("."), drawing.caption
            if drawing.figure is None:
                check_table(drawing.rows)
            else:
                check_picture(drawing.figure)


def test_every_figure_is_tested_and_documented():
    """It applies to some kind of run here, and stands in the help and in docs/training.md."""
    assert set().union(*APPLICABLE.values()) == set(FIGURES)
    text = (Path(__file__).resolve().parents[3] / "docs/training.md").read_text(encoding="utf-8")
    table = text.partition("| figure | shows |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.M) == list(FIGURES)
    assert set(re.findall(r"flowkit report R (\w+)", report.help)) == set(FIGURES)


def test_ids_that_are_cut_have_an_ellipsis(make_kind, videos):
    source = Source(run=make_kind("CATNet"), store=videos)
    shown = [text.get_text() for text in FIGURES["heaviest"](source)[0].figure.axes[0].texts]
    assert shown[0].startswith("…") and shown[0].endswith("video 00") and len(shown[0]) == 20
    assert shorten_id("video 00", 8) == "video 00"


def test_groups_of_short_sets_are_named(make_kind, videos):
    """Four features: three of the highest, and the lowest."""
    axes = FIGURES["heaviest"](Source(run=make_kind("CATNet"), store=videos))[0].figure.axes
    titles = [axis.get_title() for axis in axes[:POSITIONS]]
    assert titles[0].startswith("highest\n") and titles[3].startswith("lowest\n")
    assert [title for title in titles if "\n" in title] == [titles[0], titles[3]]


def test_runs_of_the_same_settings_are_told_apart(make_kind, videos):
    runs = make_kind("clusters"), make_kind("clusters", 1)
    (drawing,) = FIGURES["epochs"](Source(run=runs[0], store=videos, beside=(runs[1],)))
    names = [text.get_text() for text in drawing.figure.axes[0].get_legend().get_texts()]
    assert [name.partition(" (")[0] for name in names] == ["N = 4/4, fc1, w/ shifting"] * 2
    assert [name.partition(" (")[2] for name in names] == ["clusters 0)", "clusters 1)"]
