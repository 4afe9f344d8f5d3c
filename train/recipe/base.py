"""What the recipes for all kinds of training have in common."""

import re
from abc import ABC, abstractmethod
from dataclasses import asdict, field, replace
from typing import Any, Literal, Self

from pydantic import Field
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.parsing import parse, suggest
from train.recipe.rows import Row
from train.recipe.sections import STRICT, Branch, Subsets, Testing, Training


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CommonFields:
    """The fields that recipes of all kinds share.

    Recipes that differ in texts and results of papers alone are equal: they train the same.
    """

    title: str = field(compare=False)
    """One line that describes this training."""

    paper: str = field(default="", compare=False)
    """The paper, and the table of it whose result the training reproduces."""

    dataset: str
    """Name of the dataset, as in the catalogue (datasets.yaml)."""

    classes: int = Field(ge=2)
    """Number of classes."""

    splits: tuple[int, ...] = ()
    """Numbers of the official splits of the dataset. Each is trained and tested, and the results
    are averaged; empty for a dataset without splits."""

    labels: Literal["one", "many"] = "one"
    """How many labels a video has: one (softmax over classes), or many (a sigmoid for each
    class)."""

    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers."""

    subsets: Subsets = Subsets()
    """Names of the subsets of the store for training, validation and testing. ``{split}`` stands
    for the number of a split."""

    training: Training = Training()
    """How each phase is trained. A phase is one part of a run, such as training the RGB branch."""

    phases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of ``training`` that differ in a phase, by the name of the phase."""

    testing: Testing = Testing()
    """How videos are scored by `flowkit evaluate` and `flowkit predict`."""

    reported: dict[str, tuple[float, ...]] = field(default_factory=dict, compare=False)
    """The paper's results in percent, by name of score: [top-1, top-5], or [mAP, wAP] if videos
    have many labels. They are those of these settings, and are left out when a setting changes."""

    needs: str = field(default="", compare=False)
    """What you need besides the frames of the store, such as weight files."""

    choices: dict[str, str] = field(default_factory=dict, compare=False)
    """What the paper leaves open or prints in several ways, and what is chosen here, by subject."""

    rows: dict[str, Row] = field(default_factory=dict, compare=False)
    """Other rows of the paper's tables, by name (`flowkit train NAME --row ROW`): their table, the
    values that they set, and the paper's results."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BaseRecipe(CommonFields, ABC):
    """The fields and checks that recipes of all kinds share."""

    @property
    @abstractmethod
    def branches(self) -> tuple[Branch, ...]:
        """The branches (networks) that the recipe trains, each in a phase of the same name."""

    @property
    def phase_names(self) -> list[str]:
        """The names that are allowed as keys of ``phases``."""
        return list(self.branches)

    @property
    def short_side(self) -> int | None:
        """The shorter side of the stored frames in pixels; None if no frames are read."""
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
            phase: Name of the phase, without its split. The phases iter_1, iter_2, … are the
                iterations of the alternating schedule (train/runs/phases.py); the entry
                ``iterations`` of ``phases`` applies to each of them.

        Raises:
            UsageError: ``phases`` has unknown keys, wrong values, or values that exclude each
                other.
        """
        common = self.phases.get("iterations", {}) if phase.startswith("iter_") else {}
        changes = {**common, **self.phases.get(phase, {})}
        values = {**asdict(self.training), **changes}
        training: Training = parse(Training, values, f"phases: {phase}")
        modes = ("only_last", "only", "partial_bn")  # each freezes other parts of the network
        chosen = [name for name in modes if getattr(training, name)]
        if len(chosen) > 1:
            raise UsageError(
                f"phases: {phase}: {' and '.join(chosen)} each choose what is trained; set only one"
            )
        return training

    def for_split(self, split: int | None) -> Self:
        """Return the recipe with the subsets of one split, and with no splits.

        Args:
            split: Number of the split, which replaces ``{split}`` in the names of subsets. None
                returns the recipe itself.
        """
        if split is None:
            return self
        subsets = Subsets(**fill_split(asdict(self.subsets), split))
        return replace(self, subsets=subsets, splits=())

    def list_split_recipes(self) -> list[Self]:
        """Return the recipe of each split; the recipe itself if it has no splits."""
        return [self.for_split(split) for split in self.splits or (None,)]

    def check(self) -> None:
        """Check that the values are compatible.

        Raises:
            UsageError: They are not.
        """
        phase_names = self.phase_names
        for name in self.phases:
            # Iterations beyond the last are accepted: fewer may be trained than were planned.
            if name not in phase_names and not re.fullmatch(r"iter_[1-9]\d*", name):
                raise UsageError(f"phases: no phase {name!r}{suggest(name, phase_names)}")
            self.get_training(name)
        for branch in self.branches:
            if self.get_training(branch).balance and self.labels == "many":
                raise UsageError("training.balance is only for labels: one")
        subset_names = asdict(self.subsets).values()
        if bool(self.splits) != any("{split}" in name for name in subset_names):
            raise UsageError(
                "splits need '{split}' in the names of subsets, and '{split}' needs splits"
            )


def fill_split(names: dict[str, str], split: int) -> dict[str, str]:
    """Replace ``{split}`` in each value by the number of a split."""
    return {key: name.replace("{split}", str(split)) for key, name in names.items()}
