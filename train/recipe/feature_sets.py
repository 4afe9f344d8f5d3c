"""Recipes for training on feature sets: attention over local features of one or more modalities.

A modality is one of the feature streams (``features/NAME``) that the network combines. The network
of all modalities counts as one branch, ``sets``.
"""

import re
from dataclasses import replace
from typing import Self

from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.base import BaseRecipe, fill_split
from train.recipe.parsing import suggest
from train.recipe.sections import STRICT, Branch
from train.recipe.set_section import Sets

# Names that a modality cannot have: keys that a batch has besides its modalities
# (flowkit/datasets/feature_sets.py), and names that cannot be part of a module's name.
RESERVED = re.compile(r"label|row|.*_lengths|\W*|\d.*|.*\W.*")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FeatureSetRecipe(BaseRecipe):
    """The recipe for local features, trained in one phase, ``sets``."""

    sets: Sets
    """The sets of local features of a video: which feature streams they are, and how the network
    combines them."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The one branch, sets: all modalities together."""
        return ("sets",)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The feature streams of the modalities."""
        return tuple(self.sets.streams.values())

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The weight file of the network, if the recipe names one."""
        return (self.sets.weights,) if self.sets.weights else ()

    def for_split(self, split: int | None) -> Self:
        """Return the recipe with the subsets and the feature streams of one split."""
        if split is None:
            return self
        streams = fill_split(self.sets.streams, split)
        return replace(super().for_split(split), sets=replace(self.sets, streams=streams))

    def check(self) -> None:
        """Check that each modality has its settings, and that there are none for images only."""
        super().check()
        if self.testing.controls or self.testing.fusion:
            raise UsageError(
                "testing.controls and testing.fusion are for images: leave them out with sets"
            )
        self._check_modalities()
        training = self.get_training("sets")
        for name in ("only_last", "only", "partial_bn"):
            if getattr(training, name):
                raise UsageError(
                    f"training.{name} is for backbones, which networks of feature sets do not have"
                )
        if training.groups != "plain":
            raise UsageError("training.groups: expected plain for feature sets, got tsn")

    def _check_modalities(self) -> None:
        sets = self.sets
        if not sets.streams:
            raise UsageError("sets.streams: expected one modality or more, got none")
        for modality in sets.streams:
            if RESERVED.fullmatch(modality):
                raise UsageError(f"sets.streams: {modality!r} cannot be a modality's name")
        for name in ("dimensions", "units", "sample", "test"):
            values, minimum = sets.get_by_modality(name), 0 if name in ("sample", "test") else 1
            if set(values) != set(sets.streams) or min(values.values()) < minimum:
                raise UsageError(
                    f"sets.{name}: expected a number of at least {minimum} for each of "
                    f"{', '.join(sets.streams)}, got {values}"
                )
        for name in ("made_with", "may_be_empty"):
            for modality in getattr(sets, name):
                if modality not in sets.streams:
                    raise UsageError(
                        f"sets.{name}: no modality {modality!r}{suggest(modality, sets.streams)}"
                    )
        if sets.method == "flatten" and not min(sets.get_by_modality("sample").values()):
            raise UsageError(
                "sets.sample: sets.method flatten needs a fixed number of features, 1 or more"
            )
