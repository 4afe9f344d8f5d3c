"""Define the arguments, options and types of values that several commands share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flowkit.path_text import argument_to_text

PATH = click.Path(path_type=Path)
"""A path, which need not exist."""
JPEG_QUALITY = click.IntRange(1, 100)
"""A quality of JPEG images."""
IMAGE_FOLDERS = click.Choice(["denseflow", "mmaction2"])
"""A tool whose folders of JPEG images can be exported and imported."""
EXPORT_FORMATS = click.Choice([*IMAGE_FOLDERS.choices, "webdataset", "huggingface"])
"""A format in which a store can be exported."""

label_options = (
    click.option("--labels", metavar="FILE", type=PATH, multiple=True,
                 help="Read the labels from this file: CSV, JSON, JSON lines, Parquet or plain "
                 "text, one video per line. May be given several times, such as for train and "
                 "test."),
    click.option("--columns", metavar="ROLE=COLUMN,…", type=argument_to_text,
                 help="What the columns of the label file mean, where it is not recognized: "
                 "id=clip,label=gesture. Roles: id, label, subset, start, end, start_frame, "
                 "end_frame, fps."),
    click.option("--classes", metavar="FILE", type=PATH,
                 help="A list of the classes, which gives numeric labels their names."),
    click.option("--file-template", metavar="T", type=argument_to_text,
                 help="The video of a row, if the id does not name it: \"{id}_color.mp4\"."),
)  # fmt: skip
"""Options about label files."""


def add_label_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about label files to a command; they make its argument ``labels``.

    Args:
        command: The function of the command, with a parameter ``labels`` of the class
            `flowkit.commands.sources.LabelArguments`.

    Returns:
        The function with the options.
    """

    @functools.wraps(command)
    def run(
        *args: Any,
        labels: tuple[Path, ...],
        columns: str | None,
        classes: Path | None,
        file_template: str | None,
        **others: Any,
    ) -> Any:
        from flowkit.commands.sources import LabelArguments

        arguments = LabelArguments(
            files=labels, columns=columns, classes=classes, file_template=file_template
        )
        return command(*args, labels=arguments, **others)

    for option in reversed(label_options):
        run = option(run)
    return run


store_argument = click.argument("store", type=PATH)
variant_option = click.option(
    "--variant", metavar="NAME", help="Variant of the dataset, such as 600 of kinetics."
)
catalog_option = click.option(
    "--catalog", type=PATH, help="Read datasets from this file instead of datasets.yaml."
)
