"""Recipes of trainings on images: two-stream networks of RGB frames and optical flow."""

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.base import BaseRecipe
from train.recipe.sections import STRICT, Branch, Data, Network


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ImageRecipe(BaseRecipe):
    """A training of one or two branches on RGB frames and optical flow."""

    streams: tuple[Literal["rgb", "flow"], ...] = ("rgb", "flow")
    """The branches."""

    iterations: int = Field(default=0, ge=0)
    """Iterations of the alternating schedule after the plain branches have been trained."""

    data: Data = Data()
    """Training samples."""

    network: Network = Network()
    """The branches, and the attention between them or inside them."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The streams."""
        return self.streams

    @property
    def phase_names(self) -> list[str]:
        """List the names allowed in ``phases``; ``iterations`` means all of iter_1, iter_2, etc."""
        iterations = [f"iter_{number + 1}" for number in range(self.iterations)]
        return ["rgb", "flow", "uniform", "iterations", *iterations]

    @property
    def short_side(self) -> int:
        """The shorter side of stored frames, pixels."""
        return self.data.short_side

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The weight files of the branches."""
        return tuple(self.network.weights.values())

    def check(self) -> None:
        """Check that streams, network and data go together."""
        super().check()
        if not self.streams:
            raise UsageError("streams: expected rgb, flow or both, or audio; got none")
        network = self.network
        network.check_dropout(self.streams)
        if "audio" in network.weights:
            raise UsageError("network.weights.audio: expected with streams: [audio] alone")
        has_both = set(self.streams) == {"rgb", "flow"}
        if not has_both and (self.iterations or network.cma or self.testing.controls):
            raise UsageError("cross-modality attention needs both streams, rgb and flow")
        if set(network.non_local) - set(self.streams):
            raise UsageError("non_local names a branch that is not in streams")
        self._check_data()

    def _check_data(self) -> None:
        network, data = self.network, self.data
        is_3d = network.backbone in ("i3d", "p3d")
        if is_3d != (data.clip is not None) or (is_3d and network.pyramid):
            raise UsageError(
                "networks of clips (i3d, p3d) need data.clip and no pyramid; networks of "
                f"images no clip. Here are {network.backbone} and clip {data.clip}"
            )
        if data.window and (self.labels == "one" or data.clip):
            raise UsageError("data.window is for snippets of videos with labels: many")
        if self.labels == "many" and self.testing.controls:
            raise UsageError("testing.controls are for videos with labels: one")
        if network.pyramid and (network.cma or network.non_local or self.iterations):
            raise UsageError(
                "network.pyramid is attention inside the branches, which meet in their "
                "scores alone: no cma, non_local or iterations with it"
            )
