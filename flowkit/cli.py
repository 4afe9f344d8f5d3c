"""Define the ``flowkit`` command, which finds commands by name and prints errors as one line.

A command is imported when it is called, not before, so that ``flowkit --help`` is quick. Plugin
commands are those of ``train`` and of other distributions; they are registered in the entry-point
group ``flowkit.commands``.
"""

import codecs
import difflib
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from flowkit.doctor.shadowing import find_shadows
from flowkit.errors import FlowkitError, UsageError
from flowkit.path_text import ESCAPE_HANDLER, printable_path
from flowkit.version import __version__

HELP = {
    "copy": "Copy store A to B: folders, or URLs such as s3://bucket/store; "
    "run it again to continue",
    "datasets": "List the datasets of the catalogue, and count their videos on this machine",
    "demo": "Render motion8, extract it, and show the error of the computed flow",
    "doctor": "Check this machine, and suggest how to solve each problem",
    "export": "Write videos of STORE to folder OUT in the format of another tool",
    "extract": "Extract videos into a frame store; run it again to continue after an interruption",
    "import": "Import every video folder below FOLDER: img_*.jpg, flow_x_*.jpg, flow_y_*.jpg",
    "index": "Rebuild the index of STORE from its commit records, "
    "and merge new annotations into it",
    "list": "List the videos of STORE with class, subset, length, size and motion",
    "preview": "Draw videos of STORE: RGB frames above colour-coded flow",
    "remove": "Remove the features NAME from STORE, so that others can be computed with that name",
    "split": "Divide the videos of STORE into the subsets train, val and test, class by class",
    "status": "Show what STORE holds: videos by stream, what is missing, failures by kind",
    "view": "Show STORE in a browser: its numbers, its videos beside their flow, its runs",
    "verify": "Check every byte of STORE against its commit records; exits with 1 if any is wrong",
}
"""The first sentence of the help of each command, so that `flowkit --help` imports no command."""
COMMANDS = {
    name: ("flowkit.commands.{0}:{0}".format("import_" if name == "import" else name), text)
    for name, text in HELP.items()
} | {"list": ("flowkit.commands.list:list_videos", HELP["list"])}
"""Where each command is defined, as ``module:attribute``, and the first sentence of its help."""
INTERRUPTED = 130
"""Exit code that a shell reports for a process ended by SIGINT."""


class Commands(click.Group):
    """A group whose commands are loaded by name on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, those of plugins too, sorted."""
        return sorted({*COMMANDS, *find_plugin_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None for an unknown name."""
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name][0].partition(":")
            command = getattr(import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command
        entry = find_plugin_commands().get(cmd_name)
        return load_command(entry) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that ``args`` start with.

        Raises:
            UsageError: There is no such command; the message names the nearest one.
        """
        names = self.list_commands(ctx)
        if args[0] not in names:
            nearest = difflib.get_close_matches(args[0], names, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(names)}"
            raise UsageError(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, importing only plugins; the others are in COMMANDS."""
        limit = formatter.width - 16  # columns left of the text: names and margins
        lines = []
        for name in self.list_commands(ctx):
            if name in COMMANDS:
                lines.append((name, COMMANDS[name][1]))
                continue
            try:
                command = load_command(find_plugin_commands()[name])
                lines.append((name, command.get_short_help_str(limit)))
            except UsageError as error:
                lines.append((name, f"({error})"))
        with formatter.section("Commands"):
            formatter.write_dl(lines)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line ``args``; exit with 0, or with the exit code of the error.

        This overrides ``click.Command.main``, which is called with the same arguments.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        for output in (sys.stdout, sys.stderr):
            if isinstance(output, io.TextIOWrapper):  # not replaced, as it is in tests
                make_printable(output)
        if not standalone_mode:
            return super().main(arguments, prog_name, complete_var, False, **extra)
        debug = arguments[:1] == ["--debug"]
        try:
            result = super().main(arguments, prog_name, complete_var, False, **extra)
            sys.exit(result if isinstance(result, int) else 0)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)
        except Exception as error:
            if debug:
                raise
            click.echo(f"error: {describe_error(error)}", err=True)
            sys.exit(error.exit_code if isinstance(error, FlowkitError) else 1)


def make_printable(output: io.TextIOWrapper) -> None:
    """Let any string be printed to stdout or stderr, with escapes for what they cannot encode.

    ASCII is replaced by UTF-8, unless the user chose it: it usually means that no locale is set.
    """
    is_set_by_user = bool(os.environ.get("PYTHONIOENCODING"))
    is_ascii = codecs.lookup(output.encoding).name == "ascii"
    encoding = "utf-8" if is_ascii and not is_set_by_user else None
    output.reconfigure(encoding=encoding, errors=ESCAPE_HANDLER)


def describe_error(error: Exception) -> str:
    """Describe an error in one line; one that flowkit does not raise itself is called a bug."""
    if isinstance(error, FlowkitError):
        return " ".join(str(error).split())
    if isinstance(error, ImportError | OSError):
        from flowkit.doctor.imports import explain_import_error

        if explanation := explain_import_error(error):
            return explanation
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        path = printable_path(error.filename)
        return f"cannot use {path!r}: {error.strerror}; check the path and its permissions"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"unexpected {text} (this is a bug: 'flowkit --debug …' shows where)"


def find_plugin_commands() -> dict[str, EntryPoint]:
    """Find the entry points of plugin commands, by name of the command."""
    return {entry.name: entry for entry in entry_points(group="flowkit.commands")}


def load_command(entry: EntryPoint) -> click.Command:
    """Import a plugin command.

    Raises:
        UsageError: It cannot be imported.
    """
    try:
        command = entry.load()
    except (ImportError, AttributeError, OSError) as error:
        from flowkit.doctor.imports import explain_import_error

        reason = explain_import_error(error) or f"{error}; install its distribution again"
        command_name = f"the command {entry.name!r} ({entry.value})"
        raise UsageError(f"{command_name} cannot be loaded: {reason}") from error
    assert isinstance(command, click.Command)
    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flowkit")
@click.option(
    "--debug", is_flag=True, help="Show the traceback of an error; give it before COMMAND."
)
def main(debug: bool) -> None:
    """Turn folders of videos into verified frame stores: RGB, TV-L1 optical flow, audio.

    "flowkit demo" shows all of it in minutes; "flowkit COMMAND --help" explains a command.
    """
    # A file such as ./train.py hides the installed package `train`.
    for shadow in find_shadows():
        click.echo(f"warning: {shadow.message}; {shadow.advice}", err=True)
