"""Draw the list of conventions that `flowkit features --conventions` prints.

A convention has the settings of a public project's feature files (feature_files/convention.py).
"""

from rich.console import Group, RenderableType
from rich.text import Text

from train.feature_files.convention import describe_convention
from train.feature_files.conventions import CONVENTIONS


def draw_conventions() -> RenderableType:
    """Draw all conventions: name and summary, then settings, sources and what they leave open."""
    lines: list[Text] = []
    for convention in CONVENTIONS.values():
        lines.append(Text.assemble((convention.name, "bold"), f"  {convention.summary}"))
        lines += [Text(f"  {line}") for line in describe_convention(convention)]
        lines.append(Text())
    return Group(*lines[:-1])
