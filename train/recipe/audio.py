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
    """The training recipe for audio alone. The network reads log-mel patches instead of frames."""

    streams: tuple[Literal["audio"]] = ("audio",)
    """Always ``audio``."""

    data: Data = Data()
    """Which patches of the videos the network is trained on. Only ``num_segments`` is used: one
    patch is read from each segment."""

    network: Network = Network(backbone="vgg16")
    """The network, which must be a VGG-16. `check` refuses attention and clips; other settings for
    images, such as the size of crops, have no effect."""

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
                "weight file of an RGB network can be given as network.weights.audio"
            )
        image_settings = {
            "network.cma": network.cma, "network.non_local": network.non_local,
            "network.pyramid": network.pyramid, "data.clip": data.clip,
            "data.window": data.window, "testing.controls": testing.controls,
            "testing.fusion": testing.fusion,
        }  # fmt: skip
        for name, value in image_settings.items():
            if value:
                refuse_image_setting(name)


def refuse_image_setting(name: str) -> None:
    """Raise the UsageError for a setting that only networks of images have."""
    raise UsageError(f"{name} is for images: leave it out with streams: [audio]")
