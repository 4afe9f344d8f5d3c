"""Table 1 of Attention Clusters, trained: accuracy on Flash-MNIST, ours beside the paper's.

    python benchmarks/flash_mnist.py [--store S] [--runs R] [--rows ROW …] [--all] [--epochs N]

A row is a weighting and N, with `+` where the shifting operation is on: `average:8`, `fc1:32`,
`fc1:32+`. Without --rows, Average N = 8 and FC1 N = 1, 8, 32, without shifting and with; --all is
the whole table. Each row is a run of the recipe flash_mnist_clusters in R, trained and evaluated by
flowkit's own commands, as many at a time as there are cores, on one thread each. What is finished
is not trained again, what was interrupted goes on.

The store comes from `flowkit flash-mnist` (the digits that it takes, and the CNN that reads them,
are told beside the table). --results FILE also puts what was printed into FILE's section on it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe_machine
from rich.console import Console
from rich.table import Table

from train.recipe.recipe import read_draft

RECIPE = "flash_mnist_clusters"
SECTION = "## Table 1 of Attention Clusters, on Flash-MNIST"
UNITS = (1, 2, 4, 8, 16, 32, 64, 128)
COLUMNS = ("average", "fc1", "fc2", "fc1+", "fc2+")
USUAL = ("average:8", *(f"fc1:{n}{sign}" for n in (1, 8, 32) for sign in ("", "+")))
WITHIN, BEATS = 4.0, 30.0


@dataclass(frozen=True)
class Row:
    """One cell of the table: how sets are weighted, by how many units, and whether they shift."""

    weighting: str
    units: int
    shifting: bool

    @classmethod
    def parse(cls, text: str) -> "Row":
        """``fc1:32+`` → Row; argparse's error for others."""
        match = re.fullmatch(r"(average|fc1|fc2):(\d+)(\+?)", text)
        if not match or int(match[2]) not in UNITS or (match[1] == "average" and match[3]):
            raise argparse.ArgumentTypeError(
                f"expected a row such as average:8, fc1:32 or fc2:32+, with N of "
                f"{', '.join(map(str, UNITS))}; got {text!r}"
            )
        return cls(match[1], int(match[2]), bool(match[3]))

    @property
    def column(self) -> str:
        """Of the paper's table."""
        return f"{self.weighting}{'+' if self.shifting else ''}"

    @property
    def paper(self) -> float:
        """The paper's accuracy in percent, as the recipe has it."""
        draft = read_draft(RECIPE)
        reported = draft.change(dict(change.split("=") for change in self.changes()))
        return float(reported.values["reported"]["sets"][0])

    @property
    def folder(self) -> str:
        """The name of its run's folder."""
        return f"{self.weighting}-{self.units}{'-shifting' if self.shifting else ''}"

    def changes(self) -> list[str]:
        """What the row sets in the recipe."""
        return [
            f"sets.weighting={self.weighting}",
            f"sets.units={self.units}",
            f"sets.shifting={str(self.shifting).lower()}",
        ]


def every_row() -> list[Row]:
    """The whole table."""
    return [Row.parse(name_row(units, column)) for units in UNITS for column in COLUMNS]


def name_row(units: int, column: str) -> str:
    """The row of a column, such as ``fc1:32+``."""
    return f"{column.rstrip('+')}:{units}{'+' * column.count('+')}"


def train_row(row: Row, options: argparse.Namespace) -> tuple[float, float]:
    """Top-1 in percent, and how many seconds it took now."""
    run, started = options.runs / row.folder, time.monotonic()
    changes = row.changes()
    changes += [f"training.epochs={options.epochs}"] if options.epochs else []
    train = ["train", options.recipe, "--store", options.store, "--run", run]
    train += [part for change in changes for part in ("--set", change)]
    train += ["--seed", options.seed] if options.seed is not None else []
    call(run, *train, "--threads", "1", "--workers", "0", "--device", options.device)
    told = call(
        run, "evaluate", run, "--store", options.store, "--json",
        "--threads", "1", "--workers", "0", "--device", options.device,
    )  # fmt: skip
    (result,) = json.loads(told).values()
    return 100 * result["top1"], time.monotonic() - started


def call(run: Path, *arguments: Any) -> str:
    """What a command of flowkit prints; its words end up in the run's log, and here if it fails."""
    command = [sys.executable, "-m", "flowkit", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    with (run.parent / f"{run.name}.log").open("a") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}")
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def draw_table(found: dict[Row, float]) -> Table:
    """Ours beside the paper's, in the paper's order; rows of N with nothing are left out."""
    table = Table(title="Top-1 on Flash-MNIST (%), ours / the paper's")
    table.add_column("N", justify="right")
    for name in ("Average", "FC1", "FC2", "FC1, shifting", "FC2, shifting"):
        table.add_column(name, justify="right")
    ours = {(row.units, row.column): value for row, value in found.items()}
    for units in sorted({row.units for row in found}):
        cells = []
        for column in COLUMNS:
            value, paper = ours.get((units, column)), Row.parse(name_row(units, column)).paper
            cells.append(f"{'–' if value is None else format(value, '.1f')} / {paper:.1f}")
        table.add_row(str(units), *cells)
    return table


def diagnose_failure(found: dict[Row, float]) -> list[str]:
    """The bars: shifted rows of FC1 near the paper's, and above those without by enough."""
    lines = []
    for row, value in found.items():
        if row.weighting != "fc1" or not row.shifting:
            continue
        off = value - row.paper
        line = f"FC1 N = {row.units} with shifting: {off:+.1f} points from the paper's"
        line += "" if abs(off) <= WITHIN else f" (more than {WITHIN:.0f})"
        other = found.get(Row("fc1", row.units, False))
        if other is not None:
            least = BEATS if row.units in (1, 8) else 0.0
            line += f"; {value - other:+.1f} over none"
            line += "" if value - other >= least and value > other else f" (bar {least:.0f})"
        lines.append(line)
    return lines


def describe_run(options: argparse.Namespace, seconds: float) -> list[str]:
    """What the figures depend on."""
    from train.runs.run import Run

    facts = json.loads(options.store.with_name(f"{options.store.name}.json").read_text())
    digits, accuracy, cnn = facts["digits"], facts["accuracy"], facts["training"]
    recipe = Run(options.runs / options.rows[0].folder).recipe
    return [
        f"{describe_machine()}; {seconds / 60:.0f} minutes, {options.jobs} rows at a time",
        f"digits: {digits['train']:,} to train and {digits['test']:,} to test (the paper: 60,000 "
        f"and 10,000); data of seed {facts['seed']}",
        f"digit CNN: {cnn['epochs']} epochs; reads {accuracy['digits']:.2%} of test digits in "
        f"noise, {accuracy['noise']:.2%} of noise, rightly",
        f"clusters: seed {recipe.seed}, {recipe.training.epochs} epochs of batch "
        f"{recipe.training.batch}, {recipe.training.optimizer} from {recipe.training.rate:g}",
    ]


def put_into(path: Path, text: str) -> None:
    """Replace the first code block of the section, or add the section at the end."""
    command = "    make flash-mnist"
    whole = path.read_text(encoding="utf-8")
    block = f"```\n{text.rstrip()}\n```"
    before, found, after = whole.partition(f"{SECTION}\n")
    if not found:
        path.write_text(
            f"{whole.rstrip()}\n\n{SECTION}\n\n{command}\n\n{block}\n", encoding="utf-8"
        )
        return
    own, line, rest = after.partition("\n## ")
    own = re.sub(r"```\n.*?\n```", lambda _: block, own, count=1, flags=re.DOTALL)
    path.write_text(before + found + own + line + rest, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("stores/flash_mnist"))
    parser.add_argument("--runs", type=Path, default=Path("runs/flash_mnist"))
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--rows", type=Row.parse, nargs="+", default=[Row.parse(r) for r in USUAL])
    parser.add_argument("--all", action="store_true", help="all 40 figures of the table")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--seed", type=int, help="of the training; default: the recipe's")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    parser.add_argument("--results", type=Path, help="a file such as benchmarks/RESULTS.md")
    options = parser.parse_args()
    if options.all:
        options.rows = every_row()
    console = Console(width=100, markup=False, highlight=False, record=True)
    progress = Console(stderr=True, markup=False, highlight=False)
    started = time.monotonic()
    found: dict[Row, float] = {}

    def work(row: Row) -> None:
        found[row], spent = train_row(row, options)
        progress.print(f"{row.folder}: {found[row]:.1f} (paper {row.paper}), {spent / 60:.1f} min")

    # The largest first, so that none is left alone at the end.
    by_cost = sorted(options.rows, key=lambda row: row.units, reverse=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, by_cost))
    for line in describe_run(options, time.monotonic() - started):
        console.print(line)
    console.print(draw_table(found))
    for line in diagnose_failure({row: found[row] for row in options.rows}):
        console.print(line)
    if options.results:
        put_into(options.results, console.export_text())


if __name__ == "__main__":
    main()
