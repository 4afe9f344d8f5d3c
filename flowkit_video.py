"""Start the ``flowkit`` command, or print one line that tells why it cannot start.

This module, and not ``flowkit.cli``, is the entry point of the console script, since importing
``flowkit.cli`` runs ``flowkit/__init__.py`` first, which another project's distribution named
``flowkit`` may have overwritten or removed. See ``flowkit/installation.py``.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import NoReturn

INSTALLATION = Path(__file__).resolve().parent / "flowkit" / "installation.py"


def main() -> None:
    """Run the command with the arguments of this process."""
    try:
        import flowkit
    except Exception as error:  # noqa: BLE001  another project's package may fail in any way
        report_name_clash(error)
    if getattr(flowkit, "__distribution__", None) != "flowkit-video":
        report_name_clash(None)
    try:
        from flowkit.cli import main as run_command
    except ImportError as error:
        from flowkit.doctor.imports import explain_import_error

        report_problem(explain_import_error(error), error)
    run_command(prog_name="flowkit")


def report_name_clash(error: Exception | None) -> NoReturn:
    """Exit with one line that tells why ``import flowkit`` does not find our package."""
    spec = spec_from_file_location("flowkit_installation", INSTALLATION)
    if spec is None or spec.loader is None or not INSTALLATION.is_file():
        raise ImportError(f"expected {INSTALLATION}, but it is missing") from error
    installation = module_from_spec(spec)
    sys.modules[spec.name] = installation  # its dataclass looks itself up there
    spec.loader.exec_module(installation)
    report_problem(installation.explain_name_clash("flowkit"), error)


def report_problem(problem: str | None, error: Exception | None) -> NoReturn:
    """Exit with one line; with ``--debug``, or if nothing explains the error, raise the error."""
    if error is not None and (problem is None or sys.argv[1:2] == ["--debug"]):
        raise error
    sys.exit(f"error: {problem}")
