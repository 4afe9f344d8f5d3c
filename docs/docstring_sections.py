"""Rewrite sections of docstrings so that Griffe understands them, for the API pages.

Griffe reads ``Examples:`` as code, but the singular ``Example:`` as text in Markdown. Some
docstrings have ``Parameters`` with a line of dashes below, in NumPy's style, and then lines such as
``name: description``, but Griffe is set to Google's style. This extension converts both before
Griffe reads them.
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
    """Convert one section to Google's style.

    Args:
        match: Match of `UNDERLINED`: the name of the section, and its lines.

    Returns:
        The section in Google's style.
    """
    lines = "".join(f"    {line}\n" for line in match[2].splitlines())
    return f"{NAMES.get(match[1], match[1])}:\n{lines}"
