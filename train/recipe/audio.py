"""Recipes for training on audio: one network of log-mel patches.

The stream and the only branch (network) are both named ``audio``.
"""

from typing import Literal

from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.base import BaseRecipe
from train.recipe.sections import STRICT, Branch, Data, Network


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AudioRecipe(BaseRecipe):
    """The recipe for audio alone. The network reads log-mel patches, as others read frames."""

    streams: tuple[Literal["audio"]] = ("audio",)
    """The stream that is trained on, which is audio alone."""

    data: Data = Data()
    """Which patches of the videos the network is trained on. Only ``num_segments`` is used: one
    patch is read from each segment."""

    network: Network = Network(backbone="vgg16")
    """The network, which must be a VGG-16. Settings for images have no effect."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The one branch, audio."""
        return self.streams

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The weight file of the network."""
        return tuple(self.network.weights.values())

    def check(self) -> None:
        """Check that the recipe has no settings that only networks of images have."""
        super().check()
        network, data, testing = self.network, self.data, self.testing
        network.check_dropout(self.streams)
        if network.backbone != "vgg16":
            raise UsageError(f"network.backbone: expected vgg16 for audio, got {network.backbone}")
        if set(network.weights) - {"audio"}:
            raise UsageError(
                f"network.weights: expected audio, got {', '.join(network.weights)}. The "
                "weight file of an RGB network can be used for audio"
            )
        attention = network.cma or network.non_local or network.pyramid
        if attention or data.clip or data.window or testing.controls or testing.fusion:
            refuse_image_settings()


def refuse_image_settings() -> None:
    """Raise UsageError for settings that only networks of images have."""
    raise UsageError(
        "network.cma, network.non_local, network.pyramid, data.clip, data.window, iterations, "
        "testing.controls and testing.fusion are for images: leave them out with streams: [audio]"
    )
