"""Render the page: one HTML document, which its script fills."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from starlette.responses import HTMLResponse

from flowkit.path_text import printable_path
from flowkit.version import __version__

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"
PAGE_MODULES = {"": "overview.js", "browse": "browse.js", "video": "video.js"}
"""The module of each page, by the first word of its path; as in main.js."""
IMPORT = re.compile(r"""^(?:import|export)\b[^;"]*?\bfrom "\./([^"]+)";""", re.MULTILINE)


@cache
def load_templates() -> Environment:
    """Load the templates; everything that they print is escaped."""
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)


@cache
def list_modules(word: str) -> tuple[str, ...]:
    """List the ES modules of a page, so that the browser loads all of them at once.

    Without the list it would find them one after the other, as each module names its imports.

    Args:
        word: First word of the page's path.
    """
    waiting = ["main.js", *filter(None, [PAGE_MODULES.get(word)])]
    found: list[str] = []
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found.append(name)
            waiting += IMPORT.findall((STATIC / name).read_text(encoding="utf-8"))
    return tuple(found)


def render_page(root: Path, scripts: Sequence[str], word: str = "") -> HTMLResponse:
    """Render the page of a store.

    Args:
        root: Folder of the store, whose name is the title.
        scripts: Paths of the ES modules of plugins.
        word: First word of the page's path.
    """
    html = load_templates().get_template("page.html").render(
        title=printable_path(root.resolve().name), version=__version__, scripts=scripts,
        modules=list_modules(word if word in PAGE_MODULES else "main"),
    )  # fmt: skip
    return HTMLResponse(html, headers={"cache-control": "no-cache"})
