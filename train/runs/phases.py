"""List the phases that a recipe trains and the scores that they produce.

Chi, Tian, Mu, Tian 2019, §4.3: the flow branch is trained alone, since it converges slowly.
Then RGB and flow alternate: iter_1 trains RGB and its connections from flow, with flow frozen;
iter_2 trains flow in the same way, and so on. Each iteration starts from the weights of the last
one, with the learning rate reset.

    rgb, flow          the branches alone; together they are iter_0, the two-stream baseline
    iter_1             RGB from its initial weights (the paper's footnote: not from the phase rgb)
                       unless the recipe sets rgb_from; flow's branch from the phase flow
    iter_2, iter_3 …   both branches from the phase before
    uniform            a control: iter_1 with equal weights in place of the softmax

A *branch* is one network of a two-stream model, named after the stream that it reads: ``rgb`` or
``flow``. A recipe on audio or on feature sets has a single branch, phase and score, of one name:

    audio              the network of log-mel patches
    sets               all modalities together
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from train.recipe.recipe import Branch, ImageRecipe, Recipe, Stream, Training

INITIAL = "initial"
ORDER: tuple[Stream, ...] = ("flow", "rgb")
# §5.2: the branch that was trained last gets more weight.
PAPER_FUSION: dict[Any, tuple[float, float]] = {
    "iter_0": (1.0, 1.0),
    "odd": (5.0, 1.0),
    "even": (1.0, 5.0),
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase of training, in which one branch is trained."""

    name: str
    """Name of the phase and of its folder."""
    branch: Branch
    """The branch that is trained."""
    cma: bool
    """Whether the network has cross-modality attention."""
    uniform: bool
    """Whether attention weights are uniform in place of the softmax (a control)."""
    start: dict[Stream, str]
    """For each branch of the network, the phase its weights come from, or "initial"."""
    training: Training
    """Optimizer, schedule and batch of the phase."""
    split: int | None = None
    """The split that the phase is trained on, or None in a run of one split."""

    @property
    def stream(self) -> Literal["rgb", "flow"]:
        """Return the trained branch of a phase that trains on images."""
        assert self.branch in ("rgb", "flow")
        return self.branch


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """One set of scores: for each branch, the phase whose network computes it."""

    name: str
    """Name of the scores; may be empty."""
    phases: dict[Branch, str]
    """The phase of each branch: ``rgb``, ``flow``, ``audio`` or ``sets``."""
    fusion: tuple[float, float] | None
    """Weights of RGB and flow in the fused score, or None for no fusion."""
    control: Literal["other-class-flow"] | None = None
    """How the flow that the network sees is changed, or None for no change."""
    split: int | None = None
    """The split that is scored, or None in a run of one split."""


def list_phases(recipe: Recipe) -> list[Phase]:
    """List all phases of a recipe in the order in which they are trained."""
    return [
        phase for split in recipe.splits or (None,) for phase in list_split_phases(recipe, split)
    ]


def list_split_phases(recipe: Recipe, split: int | None) -> list[Phase]:
    """List the phases of one split; None stands for the only split."""

    def make(
        name: str,
        branch: Branch,
        start: Mapping[Stream, str],
        cma: bool = False,
        uniform: bool = False,
    ) -> Phase:
        return Phase(
            name=add_split(name, split),
            branch=branch,
            cma=cma,
            uniform=uniform,
            start={b: s if s == INITIAL else add_split(s, split) for b, s in start.items()},
            training=recipe.get_training(name),
            split=split,
        )

    if not isinstance(recipe, ImageRecipe):
        return [make(branch, branch, {}) for branch in recipe.branches]
    cma = recipe.network.cma
    phases = [
        make(branch, branch, dict.fromkeys(ORDER if cma else (branch,), INITIAL), cma)
        for branch in ORDER
        if branch in recipe.streams
    ]
    first_start: dict[Stream, str] = {"rgb": recipe.network.rgb_from, "flow": "flow"}
    start = first_start
    for number in range(1, recipe.iterations + 1):
        name = f"iter_{number}"
        phases.append(make(name, "rgb" if number % 2 else "flow", start, cma=True))
        start = {"rgb": name, "flow": name}
    if recipe.iterations and "uniform" in recipe.testing.controls:
        phases.append(make("uniform", "rgb", first_start, cma=True, uniform=True))
    return phases


def list_scorings(recipe: Recipe) -> list[Scoring]:
    """List all scores that a finished run is evaluated for."""
    return [s for split in recipe.splits or (None,) for s in list_split_scorings(recipe, split)]


def list_split_scorings(recipe: Recipe, split: int | None) -> list[Scoring]:
    """List the scores of one split; None stands for the only split."""

    def make(
        name: str,
        phases: Mapping[Branch, str],
        fusion: tuple[float, float] | None = None,
        control: Literal["other-class-flow"] | None = None,
    ) -> Scoring:
        return Scoring(
            name=add_split(name, split),
            phases={branch: add_split(phase, split) for branch, phase in phases.items()},
            fusion=fusion,
            control=control,
            split=split,
        )

    alone = {branch: branch for branch in recipe.branches}
    if not isinstance(recipe, ImageRecipe):
        return [make("", alone)]
    weights = {**PAPER_FUSION, **recipe.testing.fusion}
    alone_weights = weights["odd" if recipe.network.cma else "iter_0"]
    has_both = {*recipe.streams} == {"rgb", "flow"}
    scorings = [
        make("iter_0" if recipe.iterations else "", alone, alone_weights if has_both else None)
    ]
    for number in range(1, recipe.iterations + 1):
        name = f"iter_{number}"
        fusion = weights["odd" if number % 2 else "even"]
        scorings.append(make(name, {"rgb": name, "flow": name}, fusion))
    controls = recipe.testing.controls if recipe.iterations else ()
    if "other-class-flow" in controls:
        name = "iter_1, flow of another class"
        scorings.append(make(name, {"rgb": "iter_1"}, control="other-class-flow"))
    if "uniform" in controls:
        scorings.append(make("uniform weights", {"rgb": "uniform"}))
    return scorings


def add_split(name: str, split: int | None) -> str:
    """Prefix the name of a phase or scoring with its split, if there is one."""
    if split is None:
        return name
    return f"split_{split}/{name}" if name else f"split_{split}"
