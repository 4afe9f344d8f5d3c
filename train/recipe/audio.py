"""Recipes of trainings on audio: one network of log-mel patches."""

from typing import Literal

from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.base import BaseRecipe
from train.recipe.sections import STRICT, Branch, Data, Network


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AudioRecipe(BaseRecipe):
    """A training on audio alone. The network sees log-mel patches as it would see frames."""

    streams: tuple[Literal["audio"]] = ("audio",)
    """The one branch."""

    data: Data = Data()
    """Only ``num_segments`` is used."""

    network: Network = Network(backbone="vgg16")
    """The network, which is a VGG-16."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The one branch, audio."""
        return self.streams

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The weight file of the network."""
        return tuple(self.network.weights.values())

    def check(self) -> None:
        """Check that nothing is asked for that only networks of images have."""
        super().check()
        network, data, testing = self.network, self.data, self.testing
        network.check_dropout(self.streams)
        if network.backbone != "vgg16":
            raise UsageError(f"the network of audio is vgg16, got {network.backbone}")
        if set(network.weights) - {"audio"}:
            raise UsageError(
                f"network.weights: expected audio, got {', '.join(network.weights)}; a "
                "file of an RGB network will do for it"
            )
        attention = network.cma or network.non_local or network.pyramid
        if attention or data.clip or data.window or testing.controls or testing.fusion:
            refuse_image_settings()


def refuse_image_settings() -> None:
    """Raise UsageError for settings that only networks of images have."""
    raise UsageError(
        "attention blocks, clips, windows, iterations, controls and fusion are for "
        "images; with streams: [audio] leave them out"
    )
