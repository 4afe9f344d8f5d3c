"""Declare the settings that a worker of features reads from its setup (setup.py)."""

from typing import Protocol

from flowkit.extraction.tasks import WriterSettings
from train.features.network import NetworkOptions


class WorkerSettings(WriterSettings, Protocol):
    """Settings that a worker reads from its setup (see setup.py)."""

    @property
    def name(self) -> str:
        """Return the name of the feature set."""

    @property
    def stream(self) -> str:
        """Return the name of the stream that is written."""

    @property
    def network_options(self) -> NetworkOptions:
        """Return the request that names the network."""

    @property
    def device(self) -> str:
        """Return the device: "cpu" or "cuda"."""

    @property
    def precision(self) -> str:
        """Return the name of the dtype that the network computes in."""

    @property
    def batch(self) -> int:
        """Return the number of images, clips or patches per batch."""

    @property
    def readers(self) -> int:
        """Return the number of reader processes."""

    @property
    def threads(self) -> int:
        """Return the number of PyTorch CPU threads."""
