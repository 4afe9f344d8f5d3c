"""Define `flowkit report`, which draws the figures and tables of a run."""

from pathlib import Path

import click

from flowkit.path_text import argument_to_text
from train.commands.options import PATH, machine_options, run_argument, scoring_options


@click.command()
@run_argument
@click.argument("figures", nargs=-1, metavar="[FIGURE]...")
@click.option("--store", type=PATH,
              help="Store to read frames from, for figures that show videos.")  # fmt: skip
@click.option("--against", type=PATH, help="Another run to compare with.")
@click.option("--score", metavar="NAME",
              help="Score to show, such as iter_1/rgb. [default: that of the paper's figure]"
              )  # fmt: skip
@click.option("--against-score", metavar="NAME",
              help="Score to compare with, of the run of --against, or else of RUN. [default: that "
                   "of the paper's figure]")  # fmt: skip
@click.option("--phase", metavar="NAME",
              help="Phase whose attention or epochs to show, such as iter_1. [default: that of the "
                   "paper's figure]")  # fmt: skip
@click.option("--evaluation", metavar="NAME",
              help="Evaluation whose scores to show, from flowkit evaluate --name. [default: the "
                   "one without a name]")  # fmt: skip
@click.option("--beside", type=PATH, multiple=True, metavar="RUN",
              help="Another run to draw into the same figure; can be given more than "
                   "once.")  # fmt: skip
@click.option("--video", "videos", multiple=True, metavar="ID", type=argument_to_text,
              help="Id of a video to show; can be given more than once.")  # fmt: skip
@click.option("--point", "points", multiple=True, type=(float, float), metavar="X Y",
              help="Query position of attention maps, as fractions of width and "
                   "height.")  # fmt: skip
@scoring_options
@machine_options
def report(
    run: Path, figures: tuple[str, ...], store: Path | None, against: Path | None,
    score: str | None, against_score: str | None, phase: str | None, evaluation: str | None,
    beside: tuple[Path, ...], videos: tuple[str, ...], points: tuple[tuple[float, float], ...],
    processes: int, precision: str, test_batch: int | None,
    device: str, workers: int | None, threads: int | None,
) -> None:  # fmt: skip
    """Draw figures and tables of an evaluated RUN, and write its report.html.

    \b
    flowkit report R --store S                        all figures that apply to the run
    flowkit report R iterations                       accuracy per iteration of attention
    flowkit report R parameters                       parameters of each score
    flowkit report R classes                          most improved classes, resolved confusions
    flowkit report R classes --score iter_2/flow --against-score iter_0/flow
    flowkit report R fusion                           accuracy over fusion weights
    flowkit report R attention --store S --video ID   attention maps with arrows
    flowkit report R attention --store S --against R1 the maps of two networks beside each other
    flowkit report R receptive --store S              where pyramid attention is high
    flowkit report R frames --store S --against R1    accuracy over K frames (evaluates for each K)
    flowkit report R gains --against R0               classes that gained and lost most
    flowkit report R accuracies                       classes sorted by accuracy
    flowkit report R confusion                        confusion matrix
    flowkit report R curves                           loss and accuracy of each phase by epoch
    flowkit report R epochs --beside R1 --beside R2   accuracy by epoch of several runs
    flowkit report R weights --store S --video ID     weights of each attention unit over a set
    flowkit report R heaviest --store S --video ID    frames by their weight over a set

    --processes, --precision, --batch, --device, --workers and --threads are for the figure frames.
    """
    from flowkit.errors import UsageError
    from flowkit.store import Store
    from train.report.figures import Source
    from train.report.report import write_report
    from train.runs.run import Run
    from train.runs.settings import make_settings

    if any(not (0 <= x <= 1 and 0 <= y <= 1) for x, y in points):
        raise UsageError("--point expects two numbers from 0 to 1, such as 0.5 0.5 for the middle")
    opened_run = Run(run)
    opened_store = Store(store) if store else None
    if opened_store is not None:
        opened_run.check_store(opened_store)
    source = Source(
        run=opened_run,
        store=opened_store,
        against=Run(against) if against else None,
        beside=tuple(map(Run, beside)),
        score=score,
        against_score=against_score,
        phase=phase,
        evaluation=evaluation,
        videos=videos,
        settings=make_settings(
            device, workers, threads, processes, precision=precision, test_batch=test_batch
        ),
        **({"points": points} if points else {}),
    )
    for path in write_report(source, figures):
        click.echo(path.read_text() if path.suffix == ".md" else str(path))
