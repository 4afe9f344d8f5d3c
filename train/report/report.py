"""Write the figures of a run as PNG files, and a self-contained report.html."""

import base64
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from shlex import quote

from jinja2 import Environment, PackageLoader, select_autoescape

from flowkit.errors import UsageError
from flowkit.path_text import printable_path, replace_surrogates
from flowkit.store.format.atomic import write_atomic
from flowkit.web.keys import make_name_key
from train.evaluation.results import list_evaluations
from train.recipe.parsing import suggest
from train.recipe.recipe import format_recipe
from train.report.figures import FIGURES, SLOW_FIGURES, Drawing, NotApplicable, Source
from train.report.figures.score_names import MEANS

WEB_VIEW = "http://127.0.0.1:8080"
"""Where `flowkit view` serves its page, unless it says otherwise."""


def write_report(source: Source, names: Iterable[str] = ()) -> list[Path]:
    """Draw figures into the folder ``figures`` of a run, and write its ``report.html``.

    The report shows the figures that this call draws. Figures that do not apply to the run are left
    out, unless they are named.

    Args:
        source: The run, and other inputs of the figures.
        names: Names of figures. Default: all figures except the slow ones.

    Returns:
        Paths of the written files.

    Raises:
        UsageError: If the name of a figure, a score, a phase or an evaluation is unknown, or a
            named figure does not apply to the run or lacks an input.
        RunError: If the run was not evaluated.
    """
    named = list(dict.fromkeys(names))
    for name in named:
        if name not in FIGURES:
            raise UsageError(f"no figure {name!r}{suggest(name, FIGURES)}")
    check_names(source)
    if named:
        drawings = [drawing for name in named for drawing in draw_named(source, name)]
    else:
        all_names = [name for name in FIGURES if name not in SLOW_FIGURES]
        drawings = [drawing for name in all_names for drawing in draw_applicable(source, name)]
    folder = source.run.path / "figures"
    folder.mkdir(exist_ok=True)
    images = {d.name: format_png(d) for d in drawings if d.figure is not None}
    contents = {
        folder / f"{d.name}.{'png' if d.figure else 'md'}": images.get(d.name)
        or format_markdown(d).encode()
        for d in drawings
    }
    page = replace_surrogates(format_html(source, drawings, images))
    contents[source.run.path / "report.html"] = page.encode()
    for path, content in contents.items():
        write_atomic(path, content)
    return list(contents)


def check_names(source: Source) -> None:
    """Check that the run has the score, the phase and the evaluation that a source names.

    Raises:
        UsageError: It has no such one; the message lists those that it has.
        RunError: If the run was not evaluated.
    """
    evaluations = list_evaluations(source.run)
    if source.evaluation is not None and source.evaluation not in evaluations:
        has = f"has {', '.join(evaluations)}" if evaluations else "has none with a name"
        raise UsageError(
            f"--evaluation: {source.run.path} has no evaluation {source.evaluation!r}; it {has}"
        )
    # The table of iterations shows means over splits too; it checks their names itself.
    if source.score is not None and not source.score.startswith(MEANS):
        source.choose_score()
    source.list_phases()


def draw_named(source: Source, name: str) -> list[Drawing]:
    """Draw a figure that the user named.

    Raises:
        UsageError: If it does not apply to the run, or lacks an input.
    """
    try:
        drawings = FIGURES[name](source)
    except NotApplicable as error:
        raise UsageError(f"{name} cannot be drawn: {error}") from error
    if not drawings:
        raise UsageError(f"{name} cannot be drawn: it does not apply to {source.run.path}")
    return drawings


def draw_applicable(source: Source, name: str) -> list[Drawing]:
    """Draw a figure that the user did not name; an empty list if it does not apply to the run.

    If it does not apply to the run to compare with, it shows the run of the source alone.
    """
    for inputs in dict.fromkeys((source, replace(source, against=None))):
        try:
            return FIGURES[name](inputs)
        except NotApplicable:
            continue
    return []


def format_png(drawing: Drawing) -> bytes:
    """Format a figure as the bytes of a PNG file."""
    assert drawing.figure is not None
    buffer = io.BytesIO()
    metadata = {"Title": replace_surrogates(drawing.caption)}
    drawing.figure.savefig(buffer, format="png", metadata=metadata)
    return buffer.getvalue()


def format_markdown(drawing: Drawing) -> str:
    """Format a table as Markdown, with aligned columns and its caption."""
    # Names of classes and videos may have any characters.
    rows = [
        [" ".join(replace_surrogates(cell).split()).replace("|", r"\|") for cell in row]
        for row in drawing.rows
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([*lines, "", replace_surrogates(drawing.caption), ""])


def format_html(source: Source, drawings: list[Drawing], images: dict[str, bytes]) -> str:
    """Format the report as a single HTML page without scripts and external files.

    Args:
        source: The run.
        drawings: Its figures and tables.
        images: PNG files of the figures, by name.

    Returns:
        The HTML of the page.
    """
    environment = Environment(
        loader=PackageLoader("train", "templates"), autoescape=select_autoescape()
    )
    return environment.get_template("report.html").render(
        run=source.run.path.name,
        recipe=source.run.recipe,
        text=format_recipe(source.run.recipe),
        facts=source.run.facts,
        command=f"flowkit view {quote(source.run.facts['store']['path'])} "
        f"--run {quote(str(source.run.path.absolute()))}",
        address=f"{WEB_VIEW}/runs/{make_name_key(printable_path(source.run.path.resolve().name))}",
        drawings=drawings,
        images={name: base64.b64encode(image).decode() for name, image in images.items()},
    )
