"""Define the settings of the workers that compute features."""

from dataclasses import dataclass

from flowkit.extraction.tasks import WorkerSettings
from train.features.network import NetworkOptions


@dataclass(frozen=True, kw_only=True)
class FeatureSettings(WorkerSettings):
    """The settings of the workers that compute features."""

    name: str
    """Name of the feature set."""
    network_options: NetworkOptions
    """The network to load."""
    device: str = "cpu"
    """Device of the network: "cpu" or "cuda"."""
    precision: str = "float32"
    """Number format in which the network computes; features are stored as float16."""
    batch: int = 32
    """Images, clips or patches per batch."""
    readers: int = 0
    """Reader processes per worker; 0 reads in a thread."""
    threads: int = 1
    """PyTorch CPU threads per worker."""

    @property
    def stream(self) -> str:
        """Return the name of the stream that is written."""
        return f"features/{self.name}"
