"""Sections of docstrings as Griffe reads them, for the API pages.

Griffe takes ``Examples:`` for code, and the singular ``Example:`` for text in Markdown. Some
docstrings have ``Parameters`` with a line of dashes below, as NumPy writes it, and then lines such
as ``name: text``; Griffe reads Google's style alone. This extension rewrites both before they are
read.
"""

import re
from typing import Any

import griffe

UNDERLINED = re.compile(r"^(Parameters|Returns|Raises)\n-{3,}\n((?:.+\n?)+)", re.MULTILINE)
NAMES = {"Parameters": "Args"}
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class GoogleSections(griffe.Extension):
    """Rewrites the docstring of each object that Griffe has read."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of one object, if it has any."""
        if not obj.is_alias and obj.docstring is not None:
            text = UNDERLINED.sub(convert_section, obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub("Examples:", text)


def convert_section(match: "re.Match[str]") -> str:
    """One section in Google's style.

    Args:
        match: Of `UNDERLINED`: the name of the section, and its lines.
    """
    lines = "".join(f"    {line}\n" for line in match[2].splitlines())
    return f"{NAMES.get(match[1], match[1])}:\n{lines}"
