"""Define what a format of export must do, the options it gets, and the results it reports."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from flowkit.errors import UsageError
from flowkit.store.reader import Store


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of an export. Each format refuses those that mean nothing to it."""

    bound: float | None = None
    """Bound of the written flow in pixels; None means the bound of the store."""
    quality: int | None = None
    """JPEG quality of the written flow images, 1–100; None means the default of the format."""
    shard_bytes: int | None = None
    """Bytes of images at which a shard is closed; None means the default of the format."""
    subsets: tuple[str, ...] = ()
    """Names of the subsets that shards are divided by; empty means all subsets of the store."""
    workers: int = 1
    """Number of threads."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written of one video."""

    frames: int
    """Number of its frames."""
    added_error_mean: float = 0.0
    """Mean error in pixels that the export added to the x component of the middle flow field."""
    added_error_max: float = 0.0
    """Largest error in pixels that the export added to the same field."""


Outcome = Written | str | None
"""What happened to a video: what was written; None if an earlier run had written it; or the reason
why it could not be written.
"""


class ExportFormat(ABC):
    """One export of a store in one format.

    Args:
        store: Store to export.
        out: Folder to write to.
        options: Options of the export.

    Attributes:
        settings: Part of the record ``export.json``. A second run must have the same settings.

    Raises:
        UsageError: If an option is invalid, or means nothing to the format.
    """

    name: ClassVar[str]
    """Name of the format."""
    streams: ClassVar[tuple[str, ...]] = ("rgb", "flow")
    """Streams that the format can hold."""
    settings: dict[str, Any]

    def __init__(self, store: Store, out: Path, options: ExportOptions) -> None:
        """Keep what the export needs, and start its settings."""
        self.store, self.out, self.options = store, out, options
        self.settings = {"format": self.name}

    def describe(self) -> dict[str, Any]:
        """Return the record ``export.json``: the settings, then the store that they apply to."""
        return self.settings | {
            "store_dataset": self.store.header.dataset,
            "store_created": self.store.header.created,
            "store_recipe": self.store.recipe.to_dict(),
        }

    def find_case_collisions(self, ids: list[str]) -> list[tuple[str, ...]]:
        """Find ids whose file names differ only by case.

        Args:
            ids: Ids of the videos to export.

        Returns:
            Groups of ids; empty where names of files do not come from ids.
        """
        return []

    @abstractmethod
    def write_videos(self, ids: list[str]) -> Iterator[tuple[str, Outcome]]:
        """Write videos, except those that an earlier run has written.

        If the caller stops early, nothing that is half-written is left under its final name.

        Args:
            ids: Ids of the videos.

        Yields:
            Id and outcome of each video, in any order.
        """

    @abstractmethod
    def write_lists(self, complete_ids: list[str]) -> int:
        """Write the lists and descriptions of all videos in the folder, also of earlier runs.

        Args:
            complete_ids: Ids of the videos that are complete after this run.

        Returns:
            The number of videos without labels.
        """

    def _refuse_options(self, *names: str) -> None:
        """Raise a UsageError if one of these options is given."""
        for name in names:
            if getattr(self.options, name) is not None:
                option = "--shard-size" if name == "shard_bytes" else f"--{name}"
                reason = "its files are not shards"
                if name in ("bound", "quality"):
                    reason = "it copies the JPEG images of the store as they are"
                raise UsageError(f"{option} means nothing to {self.name}: {reason}; leave it out")


def describe_quantization(store: Store) -> dict[str, Any]:
    """Describe how the flow images of a store become displacements in pixels.

    Args:
        store: The store.

    Returns:
        ``bound``, ``quantization`` and ``dequantization`` for ``export.json``; empty without flow.
    """
    flow = store.recipe.flow
    if flow is None:
        return {}
    return {
        "bound": flow.bound,
        "quantization": f"q = {flow.quantization}",
        "dequantization": "v = (max(q, 1) - 128) * bound / 127",
    }
