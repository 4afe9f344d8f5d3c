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

A recipe on audio or on feature sets has one phase and one score, of the same name:

    audio              the network of log-mel patches
    sets               all modalities together
"""

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
    return [phase for split in recipe.splits or (None,) for phase in phases_of(recipe, split)]


def phases_of(recipe: Recipe, split: int | None) -> list[Phase]:
    """List the phases of one split; None stands for the only split."""

    def make(
        name: str,
        branch: Branch,
        start: dict[Stream, str],
        cma: bool = False,
        uniform: bool = False,
    ) -> Phase:
        return Phase(
            name=name_of(name, split),
            branch=branch,
            cma=cma,
            uniform=uniform,
            start={b: s if s == INITIAL else name_of(s, split) for b, s in start.items()},
            training=recipe.training_of(name),
            split=split,
        )

    if not isinstance(recipe, ImageRecipe):
        return [make(branch, branch, {}) for branch in recipe.branches]
    phases = []
    cma = recipe.network.cma
    for branch in ORDER:
        if branch in recipe.streams:
            needed = ORDER if cma else (branch,)
            phases.append(make(branch, branch, dict.fromkeys(needed, INITIAL), cma))
    begin: dict[Stream, str] = {"rgb": recipe.network.rgb_from, "flow": "flow"}
    start = begin
    for number in range(1, recipe.iterations + 1):
        name = f"iter_{number}"
        phases.append(make(name, "rgb" if number % 2 else "flow", start, cma=True))
        start = {"rgb": name, "flow": name}
    if recipe.iterations and "uniform" in recipe.testing.controls:
        phases.append(make("uniform", "rgb", begin, cma=True, uniform=True))
    return phases


def list_scorings(recipe: Recipe) -> list[Scoring]:
    """List all scores that a finished run is evaluated for."""
    return [s for split in recipe.splits or (None,) for s in scorings_of(recipe, split)]


def scorings_of(recipe: Recipe, split: int | None) -> list[Scoring]:
    """List the scores of one split; None stands for the only split."""
    alone = {branch: name_of(branch, split) for branch in recipe.branches}
    if not isinstance(recipe, ImageRecipe):
        return [Scoring(name=name_of("", split), phases=alone, fusion=None, split=split)]
    weights = {**PAPER_FUSION, **recipe.testing.fusion}
    both = {*recipe.streams} == {"rgb", "flow"}
    first = "iter_0" if recipe.iterations else ""
    plain = weights["odd" if recipe.network.cma else "iter_0"]
    scorings = [
        Scoring(
            name=name_of(first, split),
            phases=alone,
            fusion=plain if both else None,
            split=split,
        )
    ]
    for number in range(1, recipe.iterations + 1):
        name = name_of(f"iter_{number}", split)
        scorings.append(
            Scoring(
                name=name,
                phases={"rgb": name, "flow": name},
                fusion=weights["odd" if number % 2 else "even"],
                split=split,
            )
        )
    if not recipe.iterations:
        return scorings
    if "other-class-flow" in recipe.testing.controls:
        scorings.append(
            Scoring(
                name=name_of("iter_1, flow of another class", split),
                phases={"rgb": name_of("iter_1", split)},
                fusion=None,
                control="other-class-flow",
                split=split,
            )
        )
    if "uniform" in recipe.testing.controls:
        scorings.append(
            Scoring(
                name=name_of("uniform weights", split),
                phases={"rgb": name_of("uniform", split)},
                fusion=None,
                split=split,
            )
        )
    return scorings


def name_of(name: str, split: int | None) -> str:
    """Return the name of a phase or scoring, prefixed with its split if there is one."""
    if split is None:
        return name
    return f"split_{split}/{name}" if name else f"split_{split}"
