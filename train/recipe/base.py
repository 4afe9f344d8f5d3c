"""What the recipes of all kinds of training have in common."""

import re
from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from typing import Any, Literal, Self

from pydantic import Field
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.parsing import parse, suggest
from train.recipe.sections import STRICT, Branch, Subsets, Testing, Training


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CommonFields:
    """The fields that recipes of all kinds share."""

    title: str
    """One line that tells this training from others."""

    paper: str
    """The paper, and the result in it that the training reproduces."""

    dataset: str
    """Name of the dataset, as in the catalogue."""

    classes: int = Field(ge=2)
    """Number of classes."""

    splits: tuple[int, ...] = ()
    """Splits of the dataset, which are trained one after another and averaged."""

    labels: Literal["one", "many"] = "one"
    """Labels of a video: one (softmax), or many (a sigmoid for each class)."""

    seed: int = Field(default=0, ge=0)
    """Seed of everything random."""

    subsets: Subsets = Subsets()
    """Subsets of the store's index that are trained on, validated and tested."""

    training: Training = Training()
    """How each phase is trained."""

    phases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What differs from ``training`` in a phase, by the name of the phase."""

    testing: Testing = Testing()
    """How videos are scored."""

    reported: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """The paper's [top-1, top-5] in percent, by name of score."""

    needs: str = ""
    """What the user must have besides the store."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BaseRecipe(CommonFields, ABC):
    """The fields and checks that recipes of all kinds share."""

    @property
    @abstractmethod
    def branches(self) -> tuple[Branch, ...]:
        """The branches that the recipe trains, each in a phase of its own name."""

    @property
    def phase_names(self) -> list[str]:
        """The names that ``phases`` may have."""
        return list(self.branches)

    @property
    def short_side(self) -> int | None:
        """The shorter side of stored frames, pixels; None if no frames are read."""
        return None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The feature streams of the store that are read."""
        return ()

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The weight files that the training starts from, as the recipe names them."""
        return ()

    def get_training(self, phase: str) -> Training:
        """Return the training settings of a phase.

        Args:
            phase: Name of the phase, without its split. What ``phases`` says of ``iterations``
                holds for each phase iter_1, iter_2, …

        Raises:
            UsageError: ``phases`` has unknown keys, wrong values, or values that exclude each
                other.
        """
        common = self.phases.get("iterations", {}) if phase.startswith("iter_") else {}
        changes = {**common, **self.phases.get(phase, {})}
        values = {**asdict(self.training), **changes}
        training: Training = parse(Training, values, f"phases: {phase}")
        modes = ("only_last", "only", "partial_bn")
        chosen = [name for name in modes if getattr(training, name)]
        if len(chosen) > 1:
            raise UsageError(
                f"phases: {phase}: {' and '.join(chosen)} each say what is trained; take one"
            )
        return training

    def for_split(self, split: int | None) -> Self:
        """Return the recipe with the subsets of one split, and with no splits.

        Args:
            split: Number of the split, which replaces ``{split}`` in names. None returns the
                recipe itself.
        """
        if split is None:
            return self
        subsets = Subsets(**fill_split(asdict(self.subsets), split))
        return replace(self, subsets=subsets, splits=())

    def list_split_recipes(self) -> list[Self]:
        """Return the recipe of each split; the recipe itself if it has no splits."""
        return [self.for_split(split) for split in self.splits or (None,)]

    def check(self) -> None:
        """Check that the values go together.

        Raises:
            UsageError: They do not.
        """
        known = self.phase_names
        for name in self.phases:
            # Iterations beyond the last are accepted: fewer may be trained than were planned.
            if name not in known and not re.fullmatch(r"iter_[1-9]\d*", name):
                raise UsageError(f"phases: no phase {name!r}{suggest(name, known)}")
            self.get_training(name)
        for branch in self.branches:
            if self.get_training(branch).balance and self.labels == "many":
                raise UsageError("training.balance is for videos with labels: one")
        subset_names = asdict(self.subsets).values()
        if bool(self.splits) != any("{split}" in name for name in subset_names):
            raise UsageError("splits need '{split}' in the subsets' names, and the reverse")


def fill_split(names: dict[str, str], split: int) -> dict[str, str]:
    """Replace ``{split}`` in each value by the number of a split."""
    return {key: name.replace("{split}", str(split)) for key, name in names.items()}
