"""Define `flowkit split`, which divides the videos of a store into subsets."""

from pathlib import Path

import click

from flowkit.commands.options import store_argument
from flowkit.path_text import argument_to_text

FRACTION = click.FloatRange(0, 1)
"""A fraction of the videos."""
DEFAULTS = {"train": 0.8, "val": 0.1, "test": 0.1}
"""The fractions if no option names any."""


@click.command()
@store_argument
@click.option("--train", type=FRACTION, help="Fraction of the videos for training. [default: 0.8]")
@click.option("--val", type=FRACTION, help="Fraction for validation. [default: 0.1]")
@click.option("--test", type=FRACTION, help="Fraction for testing. [default: 0.1]")
@click.option("--group-by", metavar="COLUMN|PATTERN", type=argument_to_text,
              help="Keep videos of one group in one subset. The group is the value of a column of "
              "the labels, or what the parentheses of a regular expression find in the "
              "id.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Choose another division of the same sizes.")  # fmt: skip
@click.option("--only", metavar="SUBSET", type=argument_to_text,
              help="Divide the videos of this subset only; the others keep theirs. Needs "
              "--replace only if the store has another of the new subsets.")  # fmt: skip
@click.option("--replace", is_flag=True, help="Replace the subsets that the store has.")
def split(
    store: Path,
    train: float | None,
    val: float | None,
    test: float | None,
    group_by: str | None,
    seed: int,
    only: str | None,
    replace: bool,
) -> None:
    """Divide the videos of STORE into the subsets train, val and test, class by class.

    \b
    flowkit split S
    flowkit split S --train 0.8 --val 0.1 --test 0.1 --group-by person
    flowkit split S --train 0.7 --test 0.3 --group-by '_g(\\d+)_' --seed 3
    flowkit split S --only train --train 0.9 --val 0.1

    If any fraction is given, those that are left out are 0. Each class is divided in the same
    proportions; the class of a video is its first label. The same options give the same subsets on
    every machine.
    """
    from flowkit.store.split import split_store

    given = {"train": train, "val": val, "test": test}
    fractions = {name: value for name, value in given.items() if value is not None}
    summary = split_store(
        store,
        fractions or DEFAULTS,
        group_by=group_by,
        seed=seed,
        only=only,
        overwrite=replace,
    )
    for line in summary.format_lines():
        click.echo(line)
