"""Tasks: what networks of images, of sound and of feature sets do each in their own way.

The loop, validation, evaluation and prediction are the same for all, and ask a recipe's task
for the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from flowkit.store import Store
from train.recipe.recipe import Recipe
from train.runs.journal import Log
from train.runs.phases import Phase
from train.runs.run import Run
from train.tasks import audio, images, sets
from train.tasks.networks import select_weights, set_training

Batch = dict[str, torch.Tensor]
Score = Callable[[Any, Batch, Recipe, Phase, torch.device], dict[str, torch.Tensor]]


def take_whole(network: Any, phase: Phase) -> nn.Module:
    """All of a network."""
    whole: nn.Module = network
    return whole


def keep_all(network: Any, phase: Phase) -> Batch:
    """All weights of a network."""
    weights: Batch = network.state_dict()
    return weights


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of training, as functions.

    ``check``: refuse what does not go together, before a run is begun. ``start``: the network that
    a phase begins with; ``set_training``: what of it learns; ``trained``: the part of it that a
    phase trains; ``select_weights``: what is kept of it; ``finish``: the network of a finished
    phase, for the scores that are wanted. ``sample``: the dataset of a phase. ``score``: scores by
    branch (B·V, C) in training, and losses of the network's own; ``score_views``: (B, V, C) in
    testing, of batches of ``at_once`` videos. ``count_costs``: parameters by name of score.
    """

    check: Callable[[Recipe, Store], None]
    start: Callable[[Run, Phase, Store, Log], Any]
    set_training: Callable[[Any, Phase], None]
    trained: Callable[[Any, Phase], nn.Module] = take_whole
    select_weights: Callable[[Any, Phase], Batch] = keep_all
    finish: Callable[[Run, Phase, tuple[Any, ...]], Any]
    sample: Callable[..., Any]
    score: Score
    score_views: Score
    at_once: int
    count_costs: Callable[[Recipe], dict[str, dict[str, float]]]


IMAGES = Task(
    check=images.check_images,
    start=images.start_images,
    set_training=set_training,
    trained=lambda network, phase: network.list_branch_modules(phase.branch),
    select_weights=select_weights,
    finish=images.finish_images,
    sample=images.sample_images,
    score=images.score_images,
    score_views=images.score_image_views,
    at_once=1,
    count_costs=images.count_image_costs,
)
AUDIO = Task(
    check=audio.check_audio,
    start=audio.start_audio,
    set_training=audio.set_audio_training,
    finish=audio.finish_audio,
    sample=audio.sample_audio,
    score=audio.score_audio,
    score_views=audio.score_audio_views,
    at_once=1,
    count_costs=audio.count_audio_costs,
)
SETS = Task(
    check=sets.check_sets,
    start=sets.start_sets,
    set_training=lambda network, phase: network.train(),
    finish=sets.finish_sets,
    sample=sets.sample_sets,
    score=sets.score_sets,
    score_views=sets.score_set_views,
    at_once=256,
    count_costs=sets.count_set_costs,
)


TASKS = {"images": IMAGES, "audio": AUDIO, "sets": SETS}


def find_task(recipe: Recipe) -> Task:
    """The task of a recipe."""
    return TASKS[recipe.kind]
