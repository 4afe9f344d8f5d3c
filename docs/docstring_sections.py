"""Sections that are underlined in a docstring, as NumPy writes them → Google's, for the API pages.

mkdocstrings reads one style. Most docstrings have Google's sections; some have ``Parameters`` with
a line of dashes below, and below that lines such as ``name: text``. This extension of Griffe turns
the second into the first before they are read; it has nothing to do once all have one style.
"""

import re
from typing import Any

import griffe

UNDERLINED = re.compile(r"^(Parameters|Returns|Raises)\n-{3,}\n((?:.+\n?)+)", re.MULTILINE)
NAMES = {"Parameters": "Args"}


class GoogleSections(griffe.Extension):
    """Rewrites the docstring of each object that Griffe has read."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of one object, if it has any."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = UNDERLINED.sub(convert_section, obj.docstring.value)


def convert_section(match: "re.Match[str]") -> str:
    """One section in Google's style.

    Args:
        match: Of `UNDERLINED`: the name of the section, and its lines.
    """
    lines = "".join(f"    {line}\n" for line in match[2].splitlines())
    return f"{NAMES.get(match[1], match[1])}:\n{lines}"
