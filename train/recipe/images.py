"""Recipes for training on images: two-stream networks of RGB frames and optical flow.

A stream is one kind of data in a store, ``rgb`` or ``flow``. A branch is the network of one stream
and has its name. CMA is cross-modality attention, between the two branches.
"""

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.base import BaseRecipe
from train.recipe.sections import CLIP_FAMILIES, STRICT, Branch, Data, Network


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ImageRecipe(BaseRecipe):
    """The recipe for one or two branches on RGB frames and optical flow."""

    streams: tuple[Literal["rgb", "flow"], ...] = ("rgb", "flow")
    """Streams of the store that are trained on, each by a branch (network) of its own."""

    iterations: int = Field(default=0, ge=0)
    """Number of phases with cross-modality attention, iter_1, iter_2, …, that follow the phases rgb
    and flow. They train the RGB branch and the flow branch in turn; 0 for none."""

    data: Data = Data()
    """Which parts of the videos the network is trained on, and how images are cropped."""

    network: Network = Network()
    """The backbones of the branches, and the attention between the branches or inside them."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The branches, which have the names of their streams."""
        return self.streams

    @property
    def phase_names(self) -> list[str]:
        """The names allowed in ``phases``.

        ``iterations`` stands for iter_1, iter_2 and so on, and ``uniform`` for the control
        experiment with equal attention weights.
        """
        names = [f"iter_{index + 1}" for index in range(self.iterations)]
        return ["rgb", "flow", "uniform", "iterations", *names]

    @property
    def short_side(self) -> int:
        """The shorter side of the stored frames in pixels."""
        return self.data.short_side

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The weight files of the branches."""
        return tuple(self.network.weights.values())

    def check(self) -> None:
        """Check that streams, network and data are compatible."""
        super().check()
        if not self.streams:
            raise UsageError("streams: expected rgb, flow or both; got none")
        network = self.network
        network.check_dropout(self.streams)
        if "audio" in network.weights:
            raise UsageError(
                "network.weights.audio is only for streams: [audio]; name rgb, flow or both"
            )
        has_both = set(self.streams) == {"rgb", "flow"}
        if not has_both and (self.iterations or network.cma or self.testing.controls):
            raise UsageError(
                "iterations, network.cma and testing.controls need both streams: set streams: "
                "[rgb, flow], or leave them out"
            )
        if set(network.non_local) - set(self.streams):
            raise UsageError(
                f"network.non_local: expected branches of {', '.join(self.streams)}, got "
                f"{', '.join(network.non_local)}"
            )
        self._check_data()

    def _check_data(self) -> None:
        network, data = self.network, self.data
        is_3d = network.backbone in CLIP_FAMILIES
        if is_3d != (data.clip is not None) or (is_3d and network.pyramid):
            advice = (
                "clips: set data.clip.length, and leave out network.pyramid"
                if is_3d
                else "single images: leave out data.clip, or set network.backbone to "
                f"{' or '.join(CLIP_FAMILIES)}"
            )
            raise UsageError(f"network.backbone {network.backbone} processes {advice}")
        if data.window and (self.labels == "one" or data.clip):
            raise UsageError(
                "data.window is only for labels: many, and cannot be combined with data.clip"
            )
        if self.labels == "many" and self.testing.controls:
            raise UsageError("testing.controls are only for labels: one")
        if network.pyramid and (network.cma or network.non_local or self.iterations):
            raise UsageError(
                "network.pyramid cannot be combined with network.cma, network.non_local or "
                "iterations: leave out network.pyramid, or all of these"
            )
