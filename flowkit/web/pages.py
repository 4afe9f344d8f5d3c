"""Render the page: one HTML document, which its script fills."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from starlette.responses import HTMLResponse

from flowkit.path_text import printable_path
from flowkit.version import __version__

TEMPLATES = Path(__file__).parent / "templates"


@cache
def load_templates() -> Environment:
    """Load the templates; everything that they print is escaped."""
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)


def render_page(root: Path, scripts: Sequence[str]) -> HTMLResponse:
    """Render the page of a store.

    Args:
        root: Folder of the store, whose name is the title.
        scripts: Paths of the ES modules of plugins.
    """
    html = (
        load_templates()
        .get_template("page.html")
        .render(title=printable_path(root.resolve().name), scripts=scripts, version=__version__)
    )
    return HTMLResponse(html, headers={"cache-control": "no-cache"})
