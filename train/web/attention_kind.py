"""Say which kind of attention a run's network has that the page can show, or why there is none."""

from dataclasses import dataclass
from typing import Literal

from train.recipe.recipe import FeatureSetRecipe, ImageRecipe
from train.recipe.set_section import ATTENTION_METHODS
from train.report.figures.attention import list_attention_phases
from train.runs.phases import Phase, list_phases
from train.runs.run import Run

Name = Literal["cross-modality", "pyramid", "sets"]


@dataclass(frozen=True)
class Kind:
    """The kind of a run's attention."""

    name: Name | None
    """The kind; None if there is nothing to show."""
    reason: str = ""
    """Why there is nothing to show, in one line."""
    phases: tuple[Phase, ...] = ()
    """Finished phases with attention, in the order of training."""


def find_kind(run: Run) -> Kind:
    """Find the kind of a run's attention, and its finished phases that have it."""
    recipe = run.recipe
    name: Name
    phases = list_phases(recipe)
    if isinstance(recipe, FeatureSetRecipe):
        if recipe.sets.method not in ATTENTION_METHODS:
            return Kind(None, f"The network of this run ({recipe.sets.method}) has no attention.")
        name, phases = "sets", phases[:1]
    elif not isinstance(recipe, ImageRecipe):
        return Kind(None, "The network of this run, on audio, has no attention.")
    elif recipe.network.pyramid is not None:
        name = "pyramid"
    else:
        name = "cross-modality"
        phases = list_attention_phases(run)
        if not phases:
            return Kind(None, "The network of this run has no attention.")
    finished = tuple(phase for phase in phases if run.is_finished(phase.name))
    if not finished:
        return Kind(None, "No phase with attention is finished yet.")
    return Kind(name, "", finished)
