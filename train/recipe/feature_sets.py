"""Recipes of trainings on feature sets: attention over local features of one or more modalities."""

import re
from dataclasses import replace
from typing import Self

from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.base import BaseRecipe, fill_split
from train.recipe.parsing import suggest
from train.recipe.sections import STRICT, Branch, Sets

# Keys that a batch of sets has besides its modalities (flowkit/datasets/feature_sets.py), and
# names that cannot be part of a module's name.
RESERVED = re.compile(r"label|row|.*_lengths|\W*|\d.*|.*\W.*")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FeatureSetRecipe(BaseRecipe):
    """A training on local features in one phase, ``sets``."""

    sets: Sets
    """Sets of local features: which streams of the store they are, and how they are fused."""

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
        """Check that each modality has what it needs, and that nothing is said of images."""
        super().check()
        if self.testing.controls or self.testing.fusion:
            raise UsageError("testing.controls and testing.fusion are for images, not sets")
        self._check_modalities()
        training = self.get_training("sets")
        for name in ("only_last", "only", "partial_bn"):
            if getattr(training, name):
                raise UsageError(f"training.{name} is for backbones; sets have none")
        if training.groups != "plain":
            raise UsageError("training.groups: expected plain with sets, got tsn")

    def _check_modalities(self) -> None:
        sets = self.sets
        if not sets.streams:
            raise UsageError("sets.streams: expected one modality or more, got none")
        for modality in sets.streams:
            if RESERVED.fullmatch(modality):
                raise UsageError(f"sets.streams: {modality!r} cannot be a modality's name")
        for name in ("dimensions", "units", "sample", "test"):
            values, least = sets.get_by_modality(name), 0 if name in ("sample", "test") else 1
            if set(values) != set(sets.streams) or min(values.values()) < least:
                raise UsageError(
                    f"sets.{name}: expected a number from {least} for each of "
                    f"{', '.join(sets.streams)}, got {values}"
                )
        for name in ("made_with", "may_be_empty"):
            for modality in getattr(sets, name):
                if modality not in sets.streams:
                    raise UsageError(
                        f"sets.{name}: no modality {modality!r}{suggest(modality, sets.streams)}"
                    )
        if sets.method == "flatten" and not min(sets.get_by_modality("sample").values()):
            raise UsageError("sets.sample: flatten makes a vector of so many; expected 1 or more")
