import importlib
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import flowkit
from flowkit import cli
from flowkit.cli import COMMANDS, main
from flowkit.errors import DiskFullError, FlowkitError, UsageError

HEAVY = {"torch", "ray", "numba", "cv2", "pyarrow", "av", "matplotlib", "numpy", "rich", "yaml"}


def run(*arguments: str, code: str | None = None) -> "subprocess.CompletedProcess[str]":
    command = ["-c", code] if code else ["-m", "flowkit"]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom flowkit.cli import main\n"
        "try: main(prog_name='flowkit')\n"
        f"finally: print(sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)"
    )
    result = run(*arguments, code=code)
    assert result.stderr.strip().splitlines()[-1] == "[]"


def test_help_lists_every_command() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: flowkit ")
    listed = {line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")}
    assert listed >= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_its_help_is_the_listed_one(name: str) -> None:
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert command.name == name
    assert command.get_short_help_str(limit=500).removesuffix(".") == COMMANDS[name][1]
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name} ")


def test_version() -> None:
    assert (
        CliRunner().invoke(main, ["--version"]).output
        == f"flowkit, version {flowkit.__version__}\n"
    )


@pytest.mark.parametrize(("wrong", "nearest"), [("exract", "extract"), ("verfy", "verify")])
def test_a_wrong_name_gets_the_nearest(wrong: str, nearest: str) -> None:
    result = CliRunner().invoke(main, [wrong])
    assert result.exit_code == 2
    assert result.stderr == f"error: no command '{wrong}'; did you mean '{nearest}'?\n"


def test_a_name_like_none_gets_them_all() -> None:
    result = CliRunner().invoke(main, ["zzz"])
    assert result.exit_code == 2
    assert "there are copy, datasets, demo, doctor, " in result.stderr


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def invoke(monkeypatch: pytest.MonkeyPatch, command: click.Command, *arguments: str) -> Result:
    monkeypatch.setattr(cli.Commands, "get_command", lambda self, ctx, name: command)
    return CliRunner().invoke(main, [*arguments, "status"])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (FlowkitError("expected a,\n got b"), 1, "error: expected a, got b"),
        (UsageError("no"), 2, "error: no"),
        (DiskFullError("full"), 3, "error: full"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.UsageError("odd"), 2, "Error: odd"),
    ],
)
def test_errors_become_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    result = invoke(monkeypatch, raising(error))
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == code
    assert result.stderr.strip().splitlines()[-1] == line
    assert "Traceback" not in result.stderr


def test_a_path_that_cannot_be_used_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    error = PermissionError(13, "Permission denied", "out/a.png")
    result = invoke(monkeypatch, raising(error))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot use 'out/a.png': Permission denied; check")


def test_an_unexpected_error_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, raising(KeyError("key")))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: unexpected KeyError: 'key' (this is a bug")


def test_debug_lets_the_traceback_out(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, raising(UsageError("no")), "--debug")
    assert isinstance(result.exception, UsageError)


def test_exit_codes_of_commands_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @click.pass_context
    def command(ctx: click.Context) -> None:
        ctx.exit(4)

    assert invoke(monkeypatch, command).exit_code == 4


def join(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = EntryPoint(name="joined", value=value, group="flowkit.commands")
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry])


def test_commands_join_by_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "joining_room.py").write_text(
        "import click\n@click.command()\ndef joined():\n    'Do more.'\n    click.echo('done')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    join(monkeypatch, "joining_room:joined")
    assert CliRunner().invoke(main, ["joined"]).output == "done\n"
    assert "joined    Do more." in CliRunner().invoke(main, ["--help"]).output


def test_a_broken_entry_point_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    join(monkeypatch, "no_such_module:joined")
    listing = CliRunner().invoke(main, ["--help"])
    assert listing.exit_code == 0
    assert "cannot be loaded" in listing.output
    result = CliRunner().invoke(main, ["joined"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the command 'joined' (no_such_module:joined) cannot be")


def test_a_shadowed_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/train.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "there/train").mkdir(parents=True)
    (tmp_path / "there/train/__init__.py").touch()
    code = (
        "import sys, flowkit.cli as cli\nfrom pathlib import Path\n"
        "from flowkit.doctor.shadowing import find_shadows\n"
        f"cli.find_shadows = lambda: find_shadows(installed=Path({str(tmp_path / 'there')!r}))\n"
        f"sys.path[:0] = [{str(tmp_path / 'here')!r}, {str(tmp_path / 'there')!r}]\n"
        "cli.main(['datasets', 'ucf101'])"
    )
    result = run(code=code)
    assert result.returncode == 0, result.stderr
    assert f"warning: 'import train' finds {tmp_path / 'here/train.py'} instead of" in result.stderr


def test_what_a_terminal_cannot_show_is_escaped() -> None:
    code = (
        "import click; from flowkit import cli\n"
        "@cli.main.command()\n"
        "def shout(): print('\u00d7')\n"
        "cli.COMMANDS['shout'] = ('__main__:shout', '')\n"
        "cli.main(['shout'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONIOENCODING="ascii"),
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, r"\xd7"), done.stderr
