"""Make a document that shows a store without a server, and the scripts that hold its data.

Browsers refuse to load ES modules from ``file://``. The document therefore has all of them in an
import map, as ``data:`` URLs under names such as ``flowkit/static/main.js``, and the paths that
they import are replaced by these names. Data are in classic scripts, which may be loaded.
"""

import base64
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from flowkit.path_text import replace_surrogates_in_json
from flowkit.version import __version__
from flowkit.web.pages import load_templates

IMPORT = re.compile(r"""(\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)"(\.{0,2}/[^"]+)\"""")
"""An import of a path: ``import {a} from "./b.js"``, ``import("./b.js")``, ``import "./b.js"``."""


def read_files(folders: Mapping[str, Path], suffixes: Sequence[str]) -> dict[str, bytes]:
    """Read the files of folders that a server has at some paths.

    Args:
        folders: Folders by their path, such as ``/static``.
        suffixes: Which files, such as ``.js``.

    Returns:
        Contents by path, such as ``/static/main.js``.
    """
    return {
        f"{path}/{file.name}": file.read_bytes()
        for path, folder in folders.items()
        for file in sorted(folder.iterdir())
        if file.suffix in suffixes
    }


def make_import_map(modules: Mapping[str, bytes]) -> dict[str, str]:
    """Make the import map of modules.

    Args:
        modules: Sources of ES modules by their path on a server.

    Returns:
        ``data:`` URLs by name. Each module imports the others by these names.

    Raises:
        ValueError: A module imports a path that is none of the modules.
    """
    urls = {}
    for path, source in modules.items():
        text = rename_imports(source.decode(), path, modules.keys())
        content = base64.b64encode(text.encode()).decode()
        urls[name_module(path)] = f"data:text/javascript;charset=utf-8;base64,{content}"
    return urls


def rename_imports(source: str, path: str, known: Any) -> str:
    """Replace the paths that a module imports by names.

    Args:
        source: The module.
        path: Its own path, which relative paths refer to.
        known: Paths of all modules.

    Raises:
        ValueError: It imports a path that is unknown.
    """

    def rename(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        if target not in known:
            raise ValueError(f"{path} imports {match[2]}, and there is no {target}")
        return f'{match[1]}"{name_module(target)}"'

    return IMPORT.sub(rename, source)


def name_module(path: str) -> str:
    """Return the name of the module at a path."""
    return f"flowkit{path}"


def render_static_page(
    title: str,
    note: str,
    modules: Mapping[str, bytes],
    scripts: Sequence[str],
    styles: Sequence[str],
) -> str:
    """Render the document.

    Args:
        title: Name of the store.
        note: What the folder has and what it lacks, in a few words.
        modules: Sources of all ES modules by their path on a server.
        scripts: Paths of the modules that the document runs; not of the scripts with data.
        styles: Addresses of the styles, relative to the document.
    """
    imports = json.dumps({"imports": make_import_map(modules)})
    return (
        load_templates()
        .get_template("static.html")
        .render(
            title=title,
            note=note,
            styles=styles,
            modules=[name_module(path) for path in scripts],
            import_map=Markup(escape_script(imports)),
            version=__version__,
        )
    )


def make_script(name: str, text: str) -> str:
    """Make the script that hands a text over to static_answers.js.

    Args:
        name: Name of the script, without folder and suffix.
        text: JSON, or base64.
    """
    return f"flowkitStatic.receive({quote(name)}, {quote(text)});\n"


def make_site_script(facts: Any) -> str:
    """Make the script that the document loads first."""
    return f"window.flowkitStatic = JSON.parse({quote(dump_json(facts))});\n"


def dump_json(values: Any) -> str:
    """Write JSON values in ASCII; texts may hold any characters."""
    return json.dumps(replace_surrogates_in_json(values), separators=(",", ":"), allow_nan=False)


def quote(text: str) -> str:
    """Write a text as a literal of JavaScript, which is safe in HTML too."""
    return escape_script(json.dumps(text))


def escape_script(text: str) -> str:
    """Escape what could end a script element, in JSON; only its texts have these characters."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
