"""The help of commands with headings: every option is listed once, below that of its group."""

import re

import click
from click.testing import CliRunner

from train.commands.feature_options import OPTION_GROUPS
from train.commands.features import features
from train.commands.grouped_help import GroupedCommand, list_parameter_names


def read_headings(text: str) -> dict[str, list[str]]:
    """The options below each heading of a help text."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            heading = line[:-1]
            found[heading] = []
        elif heading and (match := re.match(r"  (?:-h, )?(--[\w-]+)", line)):
            found[heading].append(match[1])
    return found


def test_the_help_of_features_lists_every_option_once_under_its_heading():
    result = CliRunner().invoke(features, ["--help"])
    assert result.exit_code == 0, result.output
    listed = read_headings(result.output)
    assert [*listed] == [*OPTION_GROUPS, "Other options"]
    expected = {parameter.opts[-1] for parameter in features.params} | {"--help"}
    names = [name for options in listed.values() for name in options]
    assert sorted(names) == sorted(expected)
    assert "--labels" in listed["Labels"]
    assert "--annotations" in listed["Files, with --out"]
    assert listed["Other options"] == ["--help"]


def test_options_without_a_group_are_listed_last_and_hidden_ones_not_at_all():
    first, second = click.option("--first"), click.option("--second")
    hidden = click.option("--hidden", hidden=True)
    assert list_parameter_names([first, hidden]) == ["first", "hidden"]

    @click.command(cls=GroupedCommand, option_groups={"One": [first, hidden], "None": []})
    @first
    @second
    @hidden
    def command(first, second, hidden): ...

    text = CliRunner().invoke(command, ["--help"]).output
    assert read_headings(text) == {"One": ["--first"], "Other options": ["--second", "--help"]}
