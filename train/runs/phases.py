"""List the phases that a recipe trains and the scores that they produce.

Chi, Tian, Mu, Tian 2019, §4.3: the flow branch is trained alone, since it converges slowly.
Then RGB and flow alternate: iter_1 trains RGB and its connections from flow, with flow frozen;
iter_2 trains flow in the same way, and so on. Each iteration starts from the weights of the last
one, with the learning rate reset.

    rgb, flow          each branch alone; together they are iter_0, the two-stream baseline
    iter_1             trains RGB. RGB starts from its initial weights (the paper's footnote: not
                       from the phase rgb) unless the recipe sets rgb_from; flow starts from the
                       phase flow
    iter_2, iter_3 …   both branches start from the phase before
    uniform            a control: iter_1 with equal attention weights in place of the softmax

A *phase* is a part of a run with weights of its own, which trains one branch. A *branch* is one
network of a two-stream model, named after the stream that it reads: ``rgb`` or ``flow``. CMA is
cross-modality attention, between the branches. A recipe on audio or on feature sets has a single
branch, phase and score, all with the same name:

    audio              the network of log-mel patches
    sets               all modalities together
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flowkit.streams import StreamName
from train.recipe.recipe import Branch, ImageRecipe, Recipe, Training

INITIAL = "initial"
"""Stands for weights from before any phase: the recipe's weight file, or random weights."""
ORDER: tuple[StreamName, ...] = ("flow", "rgb")
# §5.2: the branch that was trained last gets more weight.
PAPER_FUSION: dict[Any, tuple[float, float]] = {
    "iter_0": (1.0, 1.0),
    "odd": (5.0, 1.0),
    "even": (1.0, 5.0),
}
CONTROL_SCORINGS = ("iter_1, flow of another class", "uniform weights")
"""Names of the scorings of the control experiments other-class-flow and uniform."""


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
    weight_sources: dict[StreamName, str]
    """For each branch of the network, the phase whose weights it starts from, or `INITIAL`."""
    training: Training
    """Optimizer, schedule and batch of the phase."""
    split: int | None = None
    """The split that the phase is trained on, or None in a run of one split."""

    @property
    def stream(self) -> Literal["rgb", "flow"]:
        """Return the stream of the trained branch; only for phases that train on images."""
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
    """List the phases of one split, in the order in which they are trained.

    Args:
        recipe: The recipe.
        split: The split, whose number the names of the phases then contain. None lists the phases
            without a split.
    """

    def make(
        name: str,
        branch: Branch,
        weight_sources: Mapping[StreamName, str],
        cma: bool = False,
        uniform: bool = False,
    ) -> Phase:
        return Phase(
            name=add_split(name, split),
            branch=branch,
            cma=cma,
            uniform=uniform,
            weight_sources={
                b: s if s == INITIAL else add_split(s, split) for b, s in weight_sources.items()
            },
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
    sources_iter_1: dict[StreamName, str] = {"rgb": recipe.network.rgb_from, "flow": "flow"}
    sources = sources_iter_1
    for iteration in range(1, recipe.iterations + 1):
        name = f"iter_{iteration}"
        phases.append(make(name, "rgb" if iteration % 2 else "flow", sources, cma=True))
        sources = {"rgb": name, "flow": name}
    if recipe.iterations and "uniform" in recipe.testing.controls:
        phases.append(make("uniform", "rgb", sources_iter_1, cma=True, uniform=True))
    return phases


def list_scorings(recipe: Recipe) -> list[Scoring]:
    """List all scores that `flowkit evaluate` computes for a finished run."""
    return [s for split in recipe.splits or (None,) for s in list_split_scorings(recipe, split)]


def list_split_scorings(recipe: Recipe, split: int | None) -> list[Scoring]:
    """List the scores of one split; None lists them without a split, see `list_split_phases`."""

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
    if recipe.network.cma:
        # The branches start from iter_1 of another run, where RGB was trained last: Table 6.
        weights["iter_0"] = recipe.testing.fusion.get("iter_0", weights["odd"])
    has_both = {*recipe.streams} == {"rgb", "flow"}
    scorings = [
        make("iter_0" if recipe.iterations else "", alone, weights["iter_0"] if has_both else None)
    ]
    for iteration in range(1, recipe.iterations + 1):
        name = f"iter_{iteration}"
        fusion = weights["odd" if iteration % 2 else "even"]
        scorings.append(make(name, {"rgb": name, "flow": name}, fusion))
    controls = recipe.testing.controls if recipe.iterations else ()
    if "other-class-flow" in controls:
        name = CONTROL_SCORINGS[0]
        scorings.append(make(name, {"rgb": "iter_1"}, control="other-class-flow"))
    if "uniform" in controls:
        scorings.append(make(CONTROL_SCORINGS[1], {"rgb": "uniform"}))
    return scorings


def add_split(name: str, split: int | None) -> str:
    """Prefix the name of a phase or scoring with its split, if there is one."""
    if split is None:
        return name
    return f"split_{split}/{name}" if name else f"split_{split}"
