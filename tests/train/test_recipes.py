"""Every recipe of the package builds its networks and trains a step, at its real sizes."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from train.distributed.parallel import Process, list_unused_parameters
from train.loop.context import PhaseContext
from train.loop.epochs import take_step
from train.loop.optimizers import OPTIMIZERS, make_progress
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
from train.recipe.sections import CLIP_FAMILIES
from train.runs.phases import Phase, list_phases
from train.runs.run import Settings
from train.tasks.backbones import FAMILIES
from train.tasks.networks import check_networks, make_network
from train.tasks.registry import find_task
from train.tasks.samples import list_network_streams

SETTINGS = Settings(threads=1, workers=0)
# General recipes have their sizes from a store: tests/train/test_general_recipes.py trains them.
COMPLETE = [name for name in list_recipes() if read_draft(name).is_complete]


class Shapes(PhaseContext):
    """Where nothing is computed, nothing is cast."""

    def autocast(self):
        return nullcontext()


class ShapesOnly(TorchFunctionMode):
    """Skip random numbers and statistics, for whose shapes PyTorch does many operations in Python.

    Batch normalization becomes its scale and shift, which have the same shapes and gradients.
    """

    def __torch_function__(self, function, types, arguments=(), options=None):
        options = options or {}
        if function in (torch.Tensor.normal_, torch.nn.init.kaiming_normal_):
            return arguments[0] if arguments else options["tensor"]
        if function is torch.nn.functional.batch_norm:
            x, mean, _, weight, bias = (*arguments, *options.values())[:5]
            assert x.shape[1] == len(mean)
            columns = (-1, *(1,) * (x.dim() - 2))
            return x if weight is None else x * weight.view(columns) + bias.view(columns)
        return function(*arguments, **options)


class Nowhere(Process):
    """A process whose tensors have shapes and no numbers."""

    def device(self, settings: Settings) -> torch.device:
        return torch.device("meta")


def make_batch(recipe: Recipe, phase: Phase, videos: int, device: torch.device):
    labels = torch.zeros(videos, dtype=torch.int64, device=device)
    if isinstance(recipe, FeatureSetRecipe):
        dimensions, samples = (
            recipe.sets.get_by_modality(name) for name in ("dimensions", "sample")
        )
        batch = {"label": labels}
        for modality in recipe.sets.streams:
            count = samples[modality] or 25
            shape = (videos, count, dimensions[modality])
            batch[modality] = torch.ones(shape, dtype=torch.float16, device=device)
            batch[f"{modality}_lengths"] = torch.full((videos,), count)
        return batch
    if isinstance(recipe, AudioRecipe):
        shape = (videos, recipe.data.num_segments, 1, 96, 64)
        return {"audio": torch.ones(shape, device=device), "label": labels}
    data, size = recipe.data, (recipe.data.size, recipe.data.size)
    if data.clip is None:
        shapes = {"rgb": (3,), "flow": (2 * data.flow_length,)}
        views = data.num_segments
    else:
        shapes = {"rgb": (3, data.clip.length), "flow": (2, data.clip.length)}
        views = 1
    images = {
        stream: torch.randint(0, 256, (videos, views, *shapes[stream], *size), dtype=torch.uint8)
        if device.type == "cpu"
        else torch.empty((videos, views, *shapes[stream], *size), dtype=torch.uint8, device=device)
        for stream in list_network_streams(phase)
    }
    if recipe.labels == "many":
        labels = torch.zeros(videos, recipe.classes, device=device)
        labels[:, 3] = 1
        return {**images, "label": labels}
    return {**images, "label": labels}


def step(recipe: Recipe, phase: Phase, process: Process, videos: int):
    """One step of the optimizer, as the loop takes it."""
    device = process.device(SETTINGS)
    with device:
        network = find_task(recipe).build_network(phase)
    # On the CPU there are numbers, so identities.
    if device.type == "cpu" and isinstance(recipe, ImageRecipe):
        network.drop_identities(("flow" if phase.branch == "rgb" else "rgb",))
    find_task(recipe).set_train_mode(network, phase)
    trained = find_task(recipe).get_trained_module(network, phase)
    progress = make_progress(network, trained, phase, SETTINGS)
    context = Shapes(
        run=None, phase=phase, recipe=recipe, store=None, settings=SETTINGS, process=process,
        should_stop=lambda: False, log=print,
    )  # fmt: skip
    noted = take_step(context, network, progress, make_batch(recipe, phase, videos, device))
    return network, noted


def phases_of(name: str):
    """One phase of each kind: those of the first split, and the first two iterations."""
    recipe = read_recipe(name)
    phases = [p for p in list_phases(recipe) if p.split in (None, 1)]
    return [(recipe.for_split(p.split), p) for p in phases if not p.name.endswith("iter_3")]


def list_once():
    """All recipes; those whose network and training have been seen but for the classes are slow."""
    seen = set()
    for name in COMPLETE:
        recipe = read_recipe(name)
        if isinstance(recipe, FeatureSetRecipe):
            network = replace(recipe.sets, streams={}, weights="")
        else:
            network = (replace(recipe.network, weights={}), recipe.data, recipe.streams)
        kind = (network, recipe.labels, [p.training for _, p in phases_of(name)])
        again = repr(kind) in seen
        seen.add(repr(kind))
        yield pytest.param(name, marks=pytest.mark.slow if again else ())


@pytest.mark.parametrize("name", list(list_once()))
def test_a_step_of_every_phase_by_its_shapes(name, monkeypatch):
    # The fused one needs numbers.
    monkeypatch.setitem(OPTIMIZERS, "adam", lambda groups, training: torch.optim.Adam(groups))
    for recipe, phase in phases_of(name):
        with ShapesOnly():
            network, noted = step(recipe, phase, Nowhere(), phase.training.batch)
        assert noted["loss"].shape == ()
        trained = {n for n, p in network.named_parameters() if p.requires_grad}
        assert trained
        wholes = {"sets": ("parts", "classifier"), "audio": ("features", "classifier")}
        parts = wholes.get(phase.branch, (phase.branch,))
        assert all(any(part in n.split(".")[0] for part in parts) for n in trained)
        got = {n for n, p in network.named_parameters() if p.grad is not None}
        # With equal weights nothing asks, and nothing answers to a query.
        unused = {id(parameter) for parameter in list_unused_parameters(network)}
        idle = {n for n, p in network.named_parameters() if id(p) in unused}
        assert bool(idle) is phase.uniform and idle <= trained
        assert got == trained - idle  # DistributedDataParallel waits for the gradients of these


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPLETE)
def test_nothing_is_wrong_with_a_recipe_before_its_run(name):
    recipe = read_recipe(name)
    if isinstance(
        recipe, ImageRecipe
    ):  # others are looked at with a store: test_sets.py, test_audio.py
        check_networks(recipe)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPLETE)
def test_a_step_of_every_recipe_with_numbers(name):
    recipe, phase = phases_of(name)[-1]
    phase = replace(phase, training=replace(phase.training, batch=2))
    _, noted = step(recipe, phase, Process(), 2)
    assert torch.isfinite(noted["loss"])


def test_families_for_clips_are_those_whose_networks_are_3d():
    assert set(CLIP_FAMILIES) == {name for name, family in FAMILIES.items() if family.dims == 3}


def test_families_are_those_that_recipes_may_name():
    for family in FAMILIES:
        clip = "{length: 16}" if FAMILIES[family].dims == 3 else "null"
        recipe = change_recipe(
            read_recipe("kinetics_flow"),
            {"network.backbone": family, "data.clip": clip, "network.weights": "{}"},
        )
        [phase] = list_phases(recipe)
        with torch.device("meta"):
            network = make_network(recipe, phase, "flow")
        assert type(network.flow) is FAMILIES[family]
