"""What scores cost: compared with counts of the networks that compute them, by another way.

Here a parameter counts if the logits have a gradient for it; in the code, if an operation reads it.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from train.evaluation.evaluate import join_name
from train.loop.session import train
from train.recipe.recipe import ImageRecipe, list_recipes, read_draft
from train.runs.phases import list_phases, list_split_phases, list_split_scorings
from train.runs.run import Settings
from train.tasks.networks import get_input_shape, make_network
from train.tasks.registry import find_task

SETTINGS = Settings(threads=1, workers=0)
# The others take minutes together.
QUICK_RECIPES = (
    "kinetics_cma_non_local", "kinetics_p3d_cma_12", "ucf101_cma_transfer", "motion8_pyramid",
    "motion8_clusters", "kinetics_audio_vgg16",
)  # fmt: skip


def make_thin(name):
    """A shipped recipe with a network of few channels, so that it is built and run in no time."""
    draft = read_draft(name)
    recipe = draft.make_example()
    if not isinstance(recipe, ImageRecipe):
        return recipe
    changes = {"network.width": "16"}  # BN-Inception needs a multiple
    if recipe.network.backbone == "p3d":
        changes["network.blocks"] = "[1, 1, 2, 1]"
        changes["network.positions"] = "[res4_1]" if recipe.network.positions else "[]"
    if recipe.network.backbone == "resnet" and recipe.network.pyramid is None:
        changes["network.depth"] = "18" if not recipe.network.positions else "50"
    return draft.change(changes).make_example()


def count_by_gradient(network, images):
    parameters = list(network.parameters())
    outputs = network(**images)
    total = torch.stack([logits.sum() for logits in outputs.values()]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return sum(parameter.numel() for parameter, gradient in pairs if gradient is not None)


def list_untrained(recipe, phase):
    """The attention blocks that no phase has trained when this one is finished, written out."""
    if recipe.network.weights.get("both"):
        return []  # those of the file count
    untrained = []
    if phase.cma and phase.name in {"iter_1", "uniform"}:
        untrained.append("to_flow")
    if phase.cma and phase.name in {"rgb", "flow"}:  # with network.cma from the first phase on
        untrained.append("to_flow" if phase.name == "rgb" else "to_rgb")
    return untrained


def count_image_score(recipe, phase, scores):
    """Parameters and operations of the logits, of a network that is built for them alone."""
    shown = recipe
    if recipe.network.pyramid:
        data = replace(recipe.data, num_segments=recipe.testing.segments)
        shown = replace(recipe, data=data)
    with torch.device("meta"):
        network = make_network(shown, phase, scores).eval().requires_grad_(True)
        images = {b: torch.empty(get_input_shape(shown, b)) for b in ("rgb", "flow")}
    for part in list_untrained(recipe, phase):
        setattr(network, part, nn.ModuleDict())
    parameters = count_by_gradient(network, images)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(**images)
    return parameters, counter.get_total_flops()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK_RECIPES else [pytest.mark.slow])
        for name in list_recipes()
    ],
)
def test_costs_of_shipped_recipes_are_those_of_their_networks(name):
    recipe = make_thin(name)
    costs = find_task(recipe).count_costs()
    if not isinstance(recipe, ImageRecipe):
        with torch.device("meta"):
            network = find_task(recipe).build_network(list_phases(recipe)[0])
        expected = sum(parameter.numel() for parameter in network.parameters())
        assert costs["network"]["parameters"] == expected
        return
    phases = {phase.name: phase for phase in list_split_phases(recipe, None)}
    counted = {}
    for scoring in list_split_scorings(recipe, None):
        if scoring.control:
            continue
        names = scoring.phases
        for branch, phase in names.items():
            counted[join_name(scoring.name, branch)] = count_image_score(
                recipe, phases[phase], branch
            )
        if scoring.fusion and names["rgb"] == names["flow"]:
            fused = count_image_score(recipe, phases[names["rgb"]], "both")
            counted[join_name(scoring.name, "fusion")] = fused
        elif scoring.fusion:
            pair = [counted[join_name(scoring.name, branch)] for branch in ("rgb", "flow")]
            counted[join_name(scoring.name, "fusion")] = tuple(map(sum, zip(*pair, strict=True)))
    for score, (parameters, flops) in counted.items():
        assert costs[score]["parameters"] == parameters, score
        assert costs[score]["flops_per_view"] == flops, score
        views = {"centre": 1, "three": 3, "ten": 10}[recipe.testing.crops]
        views *= 1 if recipe.network.pyramid else recipe.testing.segments
        assert costs[score]["views"] == views
        assert costs[score]["flops_per_video"] == flops * views
    assert set(counted) <= set(costs)


def test_a_non_local_branch_counts_its_blocks():
    """ResNet-50 with the five blocks of kinetics_cma's positions, each of four convolutions."""
    costs = find_task(read_draft("kinetics_non_local").make_example()).count_costs()
    # Blocks of C channels: query, key and value C → C/2 and output C/2 → C with biases, and BN.
    blocks = sum(3 * (c * (c // 2)) + (c // 2) * c for c in (512, 512, 1024, 1024, 1024))
    added = costs["rgb"]["parameters"] - costs["one branch"]["parameters"]
    assert blocks < added < 1.01 * blocks
    assert costs["fusion"]["parameters"] == sum(costs[b]["parameters"] for b in ("rgb", "flow"))


def test_uniform_non_local_blocks_do_not_cost_as_much_as_attention():
    changes = {
        "network.depth": "18", "network.width": "16", "network.positions": "[res4_1]",
        "network.non_local": "[rgb]", "network.rgb_from": "rgb", "testing.controls": "[uniform]",
        "phases": "{uniform: {only_last: true}}",
    }  # fmt: skip
    recipe = read_draft("kinetics_cma").change(changes).make_example()
    costs = find_task(recipe).count_costs()
    # The phase trains no block to RGB, and starts from the phase rgb, which trained the others.
    difference = costs["iter_0/rgb"]["parameters"] - costs["uniform weights/rgb"]["parameters"]
    channels = 16 * 4
    assert difference == 2 * (channels * (channels // 2) + channels // 2)  # queries and keys


def test_costs_of_table_2_of_the_cross_modality_paper():
    """Table 2 prints 1×, 2× and 1.8×; ResNet-50 has 4.09·10⁹ multiply-adds at 224 pixels."""
    costs = find_task(read_draft("kinetics_cma").make_example()).count_costs()
    assert costs["one branch"]["flops_per_view"] == pytest.approx(2 * 4.09e9, rel=1e-3)
    assert round(costs["two branches"]["ratio"], 2) == 2.0
    assert costs["iter_1/rgb"] == costs["iter_1/rgb, identities dropped"]
    assert costs["iter_1/rgb"]["parameters"] == 40_251_344
    assert costs["iter_1/rgb"]["views"] == 250


def test_a_runs_weights_tell_which_blocks_are_trained(begin, store):
    source = begin("source", iterations=1, testing__controls="[]", training__epochs=1)
    train(source, store, SETTINGS, lambda text: None)
    by_recipe, by_run = (find_task(source.recipe).count_costs(run) for run in (None, source))
    assert by_run == by_recipe
    run = begin("transfer", iterations=0, testing__controls="[]", network__cma="true",
                training__only_last="true", training__epochs=1,
                network__weights=f"{{both: {source.folder('iter_1')}}}")  # fmt: skip
    train(run, store, SETTINGS, lambda text: None)
    costs = find_task(run.recipe).count_costs(run)
    # iter_1 has trained the blocks to RGB and none to flow, and the last layer alone is new.
    assert costs["rgb"] == by_run["iter_1/rgb"]
    assert costs["flow"] == by_run["iter_1/flow"]
    for branch in ("rgb", "flow"):
        phase = next(phase for phase in list_phases(run.recipe) if phase.name == branch)
        network = find_task(run.recipe).load_finished_network(run, phase, (branch,))
        network.requires_grad_(True)
        images = {b: torch.zeros(get_input_shape(run.recipe, b)) for b in ("rgb", "flow")}
        assert count_by_gradient(network, images) == costs[branch]["parameters"]


def test_old_results_without_operations_are_listed(begin, monkeypatch):
    from train.report.figures import Source
    from train.report.figures.tables import list_parameters

    run = begin()
    costs = {"one branch": {"parameters": 10, "ratio": 1.0}}
    results = {"scores": {"iter_0/rgb": {"top1": 0.5, "top5": 1.0, "mean_class": 0.5, "n": 4}},
               "costs": costs}  # fmt: skip
    monkeypatch.setattr(Source, "results", lambda self: results)
    (drawing,) = list_parameters(Source(run=run))
    assert drawing.rows[1][:5] == ["one branch", "10", "1.00×", "–", "–"]
    assert drawing.rows[1][5] == "50.00"
    assert np.isfinite(float(drawing.rows[1][5]))
