"""Measure all GPU rows of RESULTS.md on a bare machine, by one command that was rehearsed.

    python benchmarks/gpu.py --pack build/gpu [--python 3.12]    anywhere: collect what it lacks
    python benchmarks/gpu.py --from build/gpu                    on the GPU machine, 8 minutes
    python benchmarks/gpu.py --from build/gpu --only speed       one step again
    python benchmarks/gpu.py --from build/gpu --rehearse         all steps at tiny sizes, on a CPU
    python benchmarks/gpu.py --tables                            RESULTS.md from results/gpu.json

The GPU machine needs Python, torch with Triton, NumPy, pandas, pyarrow, Numba, OpenCV and click,
and no network. Each step (gpu_steps/plan.py) has a process and a limit of time of its own; what it
measured is in ``results/gpu.json`` and in RESULTS.md when it ends, however it ends.
"""

import importlib
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # flowkit, where it is not installed

from gpu_steps.plan import INSTALL_SECONDS, STEPS, Scale, Step, find_step, make_rehearsal
from gpu_steps.results import read_results
from gpu_steps.runner import make_variables, print_line, run_steps
from gpu_steps.tables import rewrite

HERE = Path(__file__).resolve().parent
TABLES = HERE / "RESULTS.md"
PATIENCE = 20  # a rehearsal's limits are so many times those of the plan
PATH = click.Path(path_type=Path)


def run_from(
    pack: Path, only: str | None, rehearse: bool, folder: Path, tables: Path
) -> dict[str, str]:
    """Install the pack, run the steps, keep what they measure; returns the status of each."""
    from gpu_steps.environment import make_environment

    results = read_results(folder)
    steps = [find_step(only)] if only else list(STEPS)
    if rehearse:  # the limits are for a GPU machine, and this may be a busy one
        steps = [replace(step, seconds=PATIENCE * step.seconds) for step in steps]
    said: set[str] = set()

    def publish() -> None:
        problems = [results.write()]
        try:
            rewrite(tables, results)
        except (OSError, ValueError) as error:
            problems.append(f"cannot rewrite {tables}: {error}")
        for problem in problems:
            if problem is not None and problem not in said:
                said.add(problem)
                print_line(problem)

    with tempfile.TemporaryDirectory(prefix="flowkit-gpu-") as scratch:
        seconds = INSTALL_SECONDS * (PATIENCE if rehearse else 1)
        environment = make_environment(pack, Path(scratch) / "venv", seconds)
        results.notes = environment.notes
        for note in environment.notes:
            print_line(note)

        def make_command(step: Step) -> list[str]:
            command = [str(environment.python), str(HERE / "gpu.py"), "--run", step.name]
            command += ["--from", str(pack.absolute())]
            return [*command, "--rehearse"] if rehearse else command

        publish()
        variables = make_variables(HERE.parent, Path(scratch), rehearse)
        statuses = run_steps(steps, make_command, variables, results, publish, print_line)
    if said:  # they may be nowhere else
        print_line(f"results: {results.to_dict()}")
    return statuses


def run_here(step: Step, scale: Scale) -> int:
    """Run one step in this process; returns its exit code."""
    from gpu_steps.recorder import Recorder, describe_error

    recorder = Recorder()
    module, _, function = step.function.partition(":")
    try:
        getattr(importlib.import_module(f"gpu_steps.{module}"), function)(scale, recorder)
    except Exception as error:  # noqa: BLE001 (of any kind: its line is what is kept of it)
        recorder.fail(describe_error(error))
    return 1 if recorder.failures else 0


@click.command()
@click.option("--pack", "target", type=PATH, help="Make a pack in this folder.")
@click.option("--python", default="3.12", show_default=True, help="Python of the GPU machine.")
@click.option("--wheels", type=click.Choice(["index", "installed", "none"]), default="index",
              show_default=True, help="Where the wheels of a pack come from.")  # fmt: skip
@click.option("--data", type=PATH, help="Folder with clips/ and middlebury/ for a pack.")
@click.option("--from", "pack", type=PATH, help="Run the steps with this pack.")
@click.option("--only", metavar="STEP", help="Run one step only.")
@click.option("--rehearse", is_flag=True, help="Run everything at tiny sizes on the CPU.")
@click.option("--results", "folder", type=PATH, help="Folder for gpu.json.  [default: results]")
@click.option("--table", type=PATH, help="The file whose tables are rewritten.")
@click.option("--tables", "only_tables", is_flag=True, help="Only rewrite them from gpu.json.")
@click.option("--run", "step", hidden=True, help="Run one step in this process.")
def main(
    target: Path | None, python: str, wheels: str, data: Path | None, pack: Path | None,
    only: str | None, rehearse: bool, folder: Path | None, table: Path | None, only_tables: bool,
    step: str | None,
) -> None:  # fmt: skip
    """Measure the GPU rows of RESULTS.md, or pack what that needs."""
    if sum(map(bool, (target, pack, only_tables))) != 1:
        raise click.UsageError("give one of --pack DIR, --from DIR and --tables")
    try:
        if step is not None and pack is not None:
            scale = make_rehearsal(pack / "data") if rehearse else Scale(pack / "data")
            sys.exit(run_here(find_step(step), scale))
        if target is not None:
            pack_up(target, python, wheels, data)
            return
        # A rehearsal leaves what was measured alone.
        folder = folder or Path("build/rehearsal" if rehearse else "results")
        table = table or (folder / TABLES.name if rehearse else TABLES)
        if rehearse and not table.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TABLES, table)
        if pack is None:
            rewrite(table, read_results(folder))
            return
        statuses = run_from(pack, only, rehearse, folder, table)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    done = sum(status == "done" for status in statuses.values())
    print_line(f"{done} of {len(statuses)} steps done; {folder / 'gpu.json'}, {table}")
    sys.exit(0 if done == len(statuses) else 1)


def pack_up(target: Path, python: str, wheels: str, data: Path | None) -> None:
    """Make a pack, and say how large it is."""
    from gpu_steps.pack import DATA, PackError, make_pack, measure_folder

    try:
        make_pack(target, python, wheels, data or DATA)
    except PackError as error:
        raise click.ClickException(str(error)) from error
    print_line(f"{target}: {measure_folder(target) / 2**20:.1f} MiB for Python {python}")


if __name__ == "__main__":
    main()
