"""Run trials for some minutes, and print a table: ``python -m tests.torture --minutes 10``."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.torture.kinds import KINDS
from tests.torture.runner import Runner, SharedData, run_trial

COUNTED = ("fork kills", "power cuts", "SIGKILL", "signals", "faults", "mutations")
"""Columns of the table."""


def main() -> int:
    """Run the trials; return 1 if an invariant did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long to run")
    parser.add_argument("--seed", type=int, default=1, help="decides all trials")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--only", metavar="KINDS", help="such as damage,commits")
    parser.add_argument("--without", metavar="KINDS", default="", help="such as ray")
    parser.add_argument("--short", action="store_true", help="run a few trials of each kind")
    parser.add_argument("--trial", metavar="KIND:NUMBER", help="repeat one trial of the seed")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else [kind.name for kind in KINDS]
    kinds = [k for k in KINDS if k.name in names and k.name not in arguments.without.split(",")]
    # In memory where there is room: trials write and sync thousands of small files.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=memory if memory.is_dir() else None))
    shared = SharedData(folder)
    try:
        if arguments.trial:
            return repeat(shared, arguments.trial, arguments.seed)
        started = time.monotonic()
        runner = Runner(shared, kinds, arguments.seed, lambda text: print(text, flush=True))
        if arguments.short:
            runner.run(jobs=arguments.jobs, counts={kind.name: kind.short for kind in kinds})
        else:
            runner.run(arguments.minutes, arguments.jobs)
        minutes = (time.monotonic() - started) / 60
        print_table(runner, f"seed {arguments.seed}, {minutes:.1f} minutes")
        for name, reason in runner.skipped.items():
            print(f"{name} was left out: {reason}")
        return int(any(tally.findings for tally in runner.tallies.values()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def repeat(shared: SharedData, trial: str, seed: int) -> int:
    """Repeat one trial."""
    name, _, number = trial.partition(":")
    (kind,) = (kind for kind in KINDS if kind.name == name)
    shared.prepare(kind)
    outcome = run_trial(shared, kind, seed, int(number))
    print(outcome.what, *(outcome.problems or ["nothing is wrong"]), sep="\n")
    return int(bool(outcome.problems))


def print_table(runner: Runner, title: str) -> None:
    """Print what was done and found, one row for each kind."""
    table = Table(title=f"Torture: {title}")
    table.add_column("kind")
    for name in ("trials", *COUNTED, "findings", "s/trial"):
        table.add_column(name, justify="right")
    table.add_column("what must hold")
    total = [0] * (len(COUNTED) + 2)
    for kind in runner.kinds:
        tally = runner.tallies[kind.name]
        numbers = [tally.trials, *(tally.counts[name] for name in COUNTED), len(tally.findings)]
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        seconds = f"{tally.seconds / max(1, tally.trials):.2f}"
        table.add_row(kind.name, *(f"{n:,}" for n in numbers), seconds, kind.invariant)
    table.add_section()
    table.add_row("all", *(f"{n:,}" for n in total), "", "")
    Console(width=None if sys.stdout.isatty() else 150).print(table)


if __name__ == "__main__":
    sys.exit(main())
