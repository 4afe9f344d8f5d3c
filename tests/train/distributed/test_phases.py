"""Two processes take two steps of each phase of each recipe: every trained weight has a gradient.

Ray Train calls the same code in its processes. The networks are thin and their inputs small.
"""

from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch.distributed as dist

from train.distributed.parallel import Process, list_unused_parameters, wrap
from train.loop.context import PhaseContext
from train.loop.epochs import take_step
from train.loop.optimizers import make_progress
from train.recipe.recipe import (
    AudioRecipe,
    FeatureSetRecipe,
    ImageRecipe,
    Recipe,
    change_recipe,
    list_recipes,
    read_draft,
    read_recipe,
)
from train.recipe.set_section import Method
from train.runs.phases import Phase, list_phases
from train.runs.run import Settings
from train.tasks.registry import find_task
from train.tasks.samples import list_network_streams

SETTINGS = Settings(threads=1, workers=0)
CPU = torch.device("cpu")
SHARE = 2  # videos in a batch of one process
# Recipes whose kinds of phases no other of them has. The rest of all recipes is slow.
QUICK = (
    "motion8_cma",  # every iteration, and uniform
    "kinetics_non_local",
    "ucf101_cma_transfer",  # blocks in every phase
    "motion8_pyramid",  # both losses
    "motion8_clusters",
    "motion8_catnet",
)


def shrink(name: str) -> Recipe:
    """Read a recipe, with a thin network and small inputs."""
    draft = read_draft(name)
    recipe = read_recipe(name) if draft.is_complete else draft.make_example()
    if isinstance(recipe, FeatureSetRecipe):
        dimensions = dict.fromkeys(recipe.sets.streams, 6)
        sets = replace(recipe.sets, dimensions=dimensions, units=3, heads=3, sample=4, test=4)
        return replace(recipe, sets=sets)
    if isinstance(recipe, AudioRecipe):
        return replace(recipe, network=replace(recipe.network, width=2))
    network = replace(recipe.network, width=4)
    if network.backbone == "resnet" and network.depth > 50:
        network = replace(network, depth=50)
    if network.backbone == "p3d":
        positions = ("res4_2",) if network.positions else ()  # the last block of res4
        network = replace(network, blocks=(1, 2, 3, 1), positions=positions)
    clip = recipe.data.clip and replace(recipe.data.clip, length=min(recipe.data.clip.length, 16))
    # Inception-ResNet-v2 needs 75 pixels; it has one width, so that its steps take seconds.
    size = 80 if network.backbone == "inception_resnet_v2" else 64
    data = replace(recipe.data, size=size, num_segments=2, clip=clip)
    return replace(recipe, network=network, data=data)


def make_batch(recipe: Recipe, phase: Phase, seed: int) -> dict[str, torch.Tensor]:
    """Make up a batch of one process."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, min(recipe.classes, 2), (SHARE,), generator=random)
    if recipe.labels == "many":
        labels = torch.nn.functional.one_hot(labels, recipe.classes).float()
    batch = {"label": labels}
    if isinstance(recipe, FeatureSetRecipe):
        for modality, dimension in recipe.sets.get_by_modality("dimensions").items():
            # The second process has no vectors of a modality that may be empty.
            count = 0 if modality in recipe.sets.may_be_empty and seed % 2 else 4
            batch[modality] = torch.randn(SHARE, count, dimension, generator=random)
            batch[f"{modality}_lengths"] = torch.full((SHARE,), count)
        return batch
    if isinstance(recipe, AudioRecipe):
        batch["audio"] = torch.randn(SHARE, recipe.data.num_segments, 1, 96, 64, generator=random)
        return batch
    assert isinstance(recipe, ImageRecipe)
    data, size = recipe.data, (recipe.data.size, recipe.data.size)
    for stream in list_network_streams(phase):
        channels = {"rgb": 3, "flow": 2 * (data.flow_length if data.clip is None else 1)}[stream]
        views = (data.num_segments, channels)
        if data.clip is not None:
            views = (1, channels, data.clip.length)
        shape = (SHARE, *views, *size)
        batch[stream] = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    return batch


def train_phase_together(rank: int, world: int, recipe: Recipe, phase: Phase) -> None:
    """Take two steps as the training loop does, and compare the weights of the processes."""
    process, task = Process(rank=rank, world=world), find_task(recipe)
    network = task.build_network(phase)
    if isinstance(recipe, FeatureSetRecipe):
        dimensions = recipe.sets.get_by_modality("dimensions")
        network.set_means({m: torch.zeros(dimensions[m]) for m in recipe.sets.may_be_empty})
    task.set_train_mode(network, phase)
    outer, network = wrap(network, CPU, process, False)
    trained = task.get_trained_module(network, phase)
    progress = make_progress(network, trained, phase, SETTINGS)
    context = PhaseContext(
        run=None, phase=phase, recipe=recipe, store=None, settings=SETTINGS, process=process,
        should_stop=lambda: False, log=print,
    )  # fmt: skip
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for step in range(2):
        task.set_train_mode(network, phase)
        take_step(context, outer, progress, make_batch(recipe, phase, 2 * step + rank))
    moved, unused = 0, {id(parameter) for parameter in list_unused_parameters(network)}
    for name, parameter in network.named_parameters():
        is_used = parameter.requires_grad and id(parameter) not in unused
        assert (parameter.grad is not None) == is_used, name
        other = parameter.detach().clone()
        dist.broadcast(other, 0)
        assert torch.equal(other, parameter) or other.isnan().any(), name
        moved += not torch.equal(before[name], parameter)
    assert moved


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in list_recipes()],
)
def test_two_steps_of_every_phase(together, name):
    recipe = shrink(name)
    phases = [phase for phase in list_phases(recipe) if phase.split in (None, 1)]
    assert phases
    for phase in phases:
        together(train_phase_together, recipe.for_split(phase.split), phase)


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_of_sets_where_a_modality_is_empty_in_one_process(together, method):
    recipe = shrink("kinetics_clusters_multimodal")
    assert recipe.sets.may_be_empty
    recipe = replace(recipe, sets=replace(recipe.sets, method=method))
    together(train_phase_together, recipe, list_phases(recipe)[0])


CHANGES = {
    "only the last layer": {"training.only_last": "true"},
    "some parts": {"training.only": "[layer4, fc]"},
    "the other fusion of scores": {
        "iterations": "0", "testing.controls": "[]",
        "network.pyramid": "{taps: [res3_1, res4_1], fusion: maximum, interactive: 0}",
    },
    "partial batch normalization": {"training.partial_bn": "true"},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_two_steps_with_other_options(together, name):
    recipe = change_recipe(shrink("motion8_cma"), {"phases": "{}", **CHANGES[name]})
    together(train_phase_together, recipe, list_phases(recipe)[-1])
