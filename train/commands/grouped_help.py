"""List the options of a command under headings in its help, for commands with many options."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

OptionDecorator = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What `click.option` returns."""


class GroupedCommand(click.Command):
    """A command whose help has a heading for each group of options.

    Args:
        option_groups: The options of each heading, in the order of the help. Options that are in
            no group are listed last, under "Other options".
        arguments: As for `click.Command`.
    """

    def __init__(
        self, *arguments: Any, option_groups: Mapping[str, Iterable[OptionDecorator]], **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._headings = {
            name: heading
            for heading, options in option_groups.items()
            for name in list_parameter_names(options)
        }
        self._order = [*option_groups, "Other options"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each group below its heading."""
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self._order}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[self._headings.get(parameter.name or "", self._order[-1])].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=24)


def list_parameter_names(options: Iterable[OptionDecorator]) -> list[str]:
    """List the names of the parameters that options define."""

    def command() -> None:
        """Stand in for a command, so that click attaches the options to it."""

    for option in options:
        option(command)
    parameters: list[click.Parameter] = getattr(command, "__click_params__", [])
    return [parameter.name for parameter in parameters if parameter.name is not None]
