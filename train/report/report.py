"""The figures of a run as PNG files, and one self-contained report.html."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from flowkit.errors import UsageError
from flowkit.store.format.atomic import write_atomic
from train.recipe.parsing import suggest
from train.recipe.recipe import write_recipe
from train.report.figures import COSTLY, FIGURES, Drawing, Source


def write_report(source: Source, names: Iterable[str] = ()) -> list[Path]:
    """Draw figures into R/figures, and write R/report.html.

    Without names: all but costly ones. The report has the figures that were drawn now. Those
    that the run has nothing for are left out. Raises UsageError for an unknown name, RunError
    where the run was not evaluated.
    """
    chosen = list(names) or [name for name in FIGURES if name not in COSTLY]
    for name in chosen:
        if name not in FIGURES:
            raise UsageError(f"no figure {name!r}{suggest(name, FIGURES)}")
    drawings = [drawing for name in chosen for drawing in FIGURES[name](source)]
    folder = source.run.path / "figures"
    folder.mkdir(exist_ok=True)
    written = []
    for drawing in drawings:
        if drawing.figure is not None:
            written.append(folder / f"{drawing.name}.png")
            write_atomic(written[-1], to_png(drawing))
        else:
            written.append(folder / f"{drawing.name}.md")
            write_atomic(written[-1], to_markdown(drawing).encode())
    page = source.run.path / "report.html"
    write_atomic(page, to_html(source, drawings).encode())
    return [*written, page]


def to_png(drawing: Drawing) -> bytes:
    """A figure's file."""
    assert drawing.figure is not None
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format="png", metadata={"Title": drawing.caption})
    return buffer.getvalue()


def to_markdown(drawing: Drawing) -> str:
    """A table for papers, notes and terminals."""
    widths = [max(len(row[i]) for row in drawing.rows) for i in range(len(drawing.rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in drawing.rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([*lines, "", drawing.caption, ""])


def to_html(source: Source, drawings: list[Drawing]) -> str:
    """The page: everything in it, no script, nothing fetched."""
    environment = Environment(
        loader=PackageLoader("train", "templates"), autoescape=select_autoescape()
    )
    parts = [
        {
            "name": drawing.name,
            "caption": drawing.caption,
            "rows": drawing.rows,
            "image": "" if drawing.figure is None else base64.b64encode(to_png(drawing)).decode(),
        }
        for drawing in drawings
    ]
    return environment.get_template("report.html").render(
        run=source.run.path.name,
        recipe=source.run.recipe,
        text=write_recipe(source.run.recipe),
        facts=source.run.facts,
        parts=parts,
    )
