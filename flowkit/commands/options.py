"""Define the arguments, options and types of values that several commands share."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)
"""A path, which need not exist."""
JPEG_QUALITY = click.IntRange(1, 100)
"""A quality of JPEG images."""
IMAGE_FOLDERS = click.Choice(["denseflow", "mmaction2"])
"""A tool whose folders of JPEG images can be exported and imported."""
EXPORT_FORMATS = click.Choice([*IMAGE_FOLDERS.choices, "webdataset", "huggingface"])
"""A format in which a store can be exported."""

store_argument = click.argument("store", type=PATH)
variant_option = click.option(
    "--variant", metavar="NAME", help="Variant of the dataset, such as 600 of kinetics."
)
catalog_option = click.option(
    "--catalog", type=PATH, help="Read datasets from this file instead of datasets.yaml."
)
