"""List the formats in which a store can be exported."""

from flowkit.interchange.formats.export_format import ExportFormat
from flowkit.interchange.formats.hugging_face import HuggingFace
from flowkit.interchange.formats.image_folders import Denseflow, MMAction2
from flowkit.interchange.formats.webdataset import WebDataset

FORMATS: dict[str, type[ExportFormat]] = {
    "denseflow": Denseflow,
    "mmaction2": MMAction2,
    "webdataset": WebDataset,
    "huggingface": HuggingFace,
}
"""The class of each format by the name that `flowkit export --format` takes."""
