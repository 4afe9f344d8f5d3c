"""Measure what a score costs: its parameters, and the floating-point operations of a view.

A score is one of those that `flowkit evaluate` computes, such as ``iter_1/rgb``: the logits of one
branch of a phase's network, or of both branches.

Networks run once on the meta device, where tensors have shapes and no values, so nothing is
computed. A parameter counts if an operation of the score reads it. The operations are those that
`torch.utils.flop_counter` counts: convolutions, matrix products and attention, where each
multiply-add counts as two. Papers that print "FLOPs" or "MACs" of networks often count it as one.

Attention blocks that pass their input on unchanged, because nothing has trained them, do not count:
evaluation removes them (`TwoStream.drop_identities`). A finished run's weights tell which these
are. Without a run the recipe tells: a block is trained in a phase that trains its branch and more
than the last layer, or in an earlier phase that the branch starts from. Blocks that come from the
weight file of both branches (``network.weights.both``) count then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flowkit.datasets.sampling import make_generator
from flowkit.streams import StreamName
from models.networks.two_stream import BLOCK_KINDS, Scores, TwoStream
from train.recipe.recipe import ImageRecipe
from train.runs.phases import INITIAL, Phase, add_split, list_split_phases, list_split_scorings
from train.runs.run import Run
from train.tasks.networks import get_input_shape, make_network
from train.tasks.samples import TEST_CROPS
from train.tasks.weights import BRANCHES, read_phase_weights

BLOCKS = tuple(f"{kind}_{branch}" for branch in BRANCHES for kind in BLOCK_KINDS)
"""Names of the parts of a two-stream network that hold attention blocks by position."""
BATCH_NORM = torch.ops.aten._native_batch_norm_legit_no_training.default
"""Batch normalization with stored statistics, in older versions of PyTorch."""
ANY_BATCH_NORM = torch.ops.aten.native_batch_norm.default
"""The operation of today's PyTorch, whose sixth argument says whether to compute statistics."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the network of a score costs."""

    parameters: int
    """Parameters that the score depends on."""

    flops: int | None = None
    """Floating-point operations of one view; None if they depend on the video."""

    views: int | None = None
    """Views of a video in testing; None if their number depends on the video."""

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of two networks that process the same views."""
        flops = None if self.flops is None or other.flops is None else self.flops + other.flops
        return replace(self, parameters=self.parameters + other.parameters, flops=flops)

    def to_dict(self, reference: int) -> dict[str, float]:
        """Return the entry of results.json: without the values that depend on the video.

        Args:
            reference: The number of parameters that is 1 in ``ratio``.
        """
        values: dict[str, float] = {
            "parameters": self.parameters,
            "ratio": self.parameters / reference,
        }
        if self.flops is not None:
            values["flops_per_view"] = self.flops
            if self.views is not None:
                values |= {"views": self.views, "flops_per_video": self.flops * self.views}
        return values


class CostCounter(TorchDispatchMode):
    """Record which parameters operations read, and count floating-point operations."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry  # imports Triton

        super().__init__()
        self.formulas = flop_registry
        self.flops = 0
        self.sizes: dict[int, int] = {}  # numbers of values of the parameters, by their identity

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count it."""
        kwargs = kwargs or {}
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, nn.Parameter):
                self.sizes[id(value)] = value.numel()
        if func is BATCH_NORM or (func is ANY_BATCH_NORM and not args[5]):
            # Its implementation for the meta device is slow, and the shape is known.
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        output = func(*args, **kwargs)
        formula = self.formulas.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=output)
        return output


def measure_cost(forward: Callable[[], Any], views: int | None = None) -> Cost:
    """Measure the cost of a forward pass on the meta device.

    Args:
        forward: Runs a network in eval mode on one view.
        views: Views of a video.
    """
    with torch.no_grad(), CostCounter() as counter:
        forward()
    parameters = sum(counter.sizes.values())
    return Cost(parameters=parameters, flops=counter.flops, views=views)


# --- two-stream networks -------------------------------------------------------------------------


def measure_image_costs(recipe: ImageRecipe, run: Run | None = None) -> dict[str, Cost]:
    """Measure the cost of each score of a recipe on images, of one split.

    Args:
        recipe: The recipe.
        run: The finished run, whose weights tell which blocks are trained. Default: the recipe
            tells.

    Returns:
        Costs by the name of the score, after two others: ``one branch`` is a branch without
        attention between or behind its layers, with which Chi et al. 2019, Table 2, compare, and
        ``two branches`` are two of these. The RGB score of iter_1 is also listed with and without
        the CMA blocks that change flow, which that phase leaves as they are: the identity, unless
        the recipe starts from trained ones.
    """
    networks = MetaNetworks(recipe)
    streams: tuple[StreamName, ...] = tuple(b for b in BRANCHES if b in recipe.streams)
    phases = {phase.name: phase for phase in list_split_phases(recipe, None)}
    plain = replace(next(iter(phases.values())), cma=False)
    branch_costs = [networks.measure(plain, branch, frozenset()) for branch in streams]
    costs = {"one branch": branch_costs[0]}
    if len(streams) == 2:
        costs["two branches"] = branch_costs[0] + branch_costs[1]
    trained = {
        name: list_run_blocks(run, phase, recipe) if run else list_trained_blocks(recipe, phase)
        for name, phase in phases.items()
    }
    for scoring in list_split_scorings(recipe, None):
        if scoring.control is not None:
            continue  # the network is that of another score
        prefix = f"{scoring.name}/" if scoring.name else ""
        for branch, name in scoring.phases.items():
            costs[prefix + branch] = networks.measure(phases[name], branch, trained[name])
        if scoring.fusion is not None:
            rgb, flow = scoring.phases["rgb"], scoring.phases["flow"]
            costs[f"{prefix}fusion"] = (
                networks.measure(phases[rgb], "both", trained[rgb])
                if rgb == flow
                else costs[f"{prefix}rgb"] + costs[f"{prefix}flow"]
            )
    if "iter_1" in phases:
        kept = networks.measure(phases["iter_1"], "rgb", None)
        without = networks.measure(phases["iter_1"], "rgb", networks.list_blocks(but="to_flow"))
        costs["iter_1/rgb, identities kept"] = kept
        costs["iter_1/rgb, identities dropped"] = without
    return costs


class MetaNetworks:
    """The networks of a recipe's phases on the meta device; each score is measured once."""

    def __init__(self, recipe: ImageRecipe) -> None:
        testing = recipe.testing
        # Only their number is needed, which no size changes.
        crops = TEST_CROPS[testing.crops](1)(1, 1, make_generator(0, 0, 0))
        self.recipe, self.views = recipe, testing.segments * len(crops)
        if recipe.network.pyramid is not None:
            # One input of the network has the frames of all segments.
            self.views = len(crops)
            data = replace(recipe.data, num_segments=testing.segments)
            self.recipe = replace(recipe, data=data)
        self.networks: dict[tuple[bool, bool], TwoStream] = {}
        self.blocks: dict[tuple[bool, bool], dict[str, dict[str, nn.Module]]] = {}
        self.costs: dict[tuple[Any, ...], Cost] = {}

    def measure(self, phase: Phase, scores: Any, trained: frozenset[str] | None) -> Cost:
        """Measure the cost of the logits of one branch, or of both.

        Args:
            phase: The phase whose network computes them.
            scores: "rgb", "flow" or "both".
            trained: Names of the blocks that are kept, such as "to_rgb.res3_1"; None keeps all.
        """
        kind = (phase.cma, phase.uniform)
        if kind not in self.networks:
            with torch.device("meta"):
                self.networks[kind] = make_network(self.recipe, phase, phase.stream).eval()
            network = self.networks[kind]
            self.blocks[kind] = {name: dict(getattr(network, name).items()) for name in BLOCKS}
        kept = [
            (name, position)
            for name, blocks in self.blocks[kind].items()
            for position in blocks
            if trained is None or f"{name}.{position}" in trained
        ]
        key = (*kind, scores, *kept)
        # Without blocks between the branches, those of the other branch change nothing.
        if scores != "both" and not any(name.startswith("to_") for name, _ in kept):
            key = (False, phase.uniform, scores, *(k for k in kept if k[0].endswith(scores)))
        if key not in self.costs:
            network = self.networks[kind]
            for name, blocks in self.blocks[kind].items():
                chosen = {p: block for p, block in blocks.items() if (name, p) in kept}
                setattr(network, name, nn.ModuleDict(chosen))
            self.costs[key] = self.run(network, scores)
        return self.costs[key]

    def run(self, network: TwoStream, scores: Scores) -> Cost:
        """Measure the logits that a network computes."""
        network.scores = scores
        shapes = {branch: get_input_shape(self.recipe, branch) for branch in BRANCHES}
        images: dict[str, Any] = {
            branch: torch.empty(shape, device="meta") for branch, shape in shapes.items()
        }
        return measure_cost(lambda: network(**images), self.views)

    def list_blocks(self, but: str) -> frozenset[str]:
        """List the names of all blocks of the networks with attention, except those of one part."""
        blocks: Mapping[str, Any] = next(b for (cma, _), b in self.blocks.items() if cma)
        return frozenset(
            f"{name}.{position}" for name in BLOCKS if name != but for position in blocks[name]
        )


class AllOf(frozenset[str]):
    """The names of all blocks of some parts of a network, whatever their positions."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).partition(".")[0])


def list_trained_blocks(recipe: ImageRecipe, phase: Phase) -> frozenset[str]:
    """List the parts whose blocks are trained when a phase is finished, as the recipe says."""
    phases = {p.name: p for p in list_split_phases(recipe, None)}

    def is_trained(part: str, phase: Phase) -> bool:
        branch: Any = part.rpartition("_")[2]
        if part.startswith("to_") and not phase.cma:
            return False
        if phase.branch == branch and not phase.training.only_last:
            return True
        source = phase.weight_sources.get(branch, INITIAL)
        if source == INITIAL:
            return "both" in recipe.network.weights
        return is_trained(part, phases[source])

    return AllOf(part for part in BLOCKS if is_trained(part, phase))


def list_run_blocks(run: Run, phase: Phase, recipe: ImageRecipe) -> frozenset[str]:
    """List the blocks of a finished phase that change something, by its weights.

    A block changes nothing if the scales and shifts of its batch norm are all 0.
    """
    if not phase.cma and not recipe.network.non_local:
        return frozenset()
    split = recipe.splits[0] if recipe.splits else None
    weights = read_phase_weights(run, add_split(phase.name, split))
    return frozenset(
        name.rpartition(".norm.")[0]
        for name, tensor in weights.items()
        if name.startswith(BLOCKS) and name.endswith((".norm.weight", ".norm.bias"))
        and bool(tensor.any())
    )  # fmt: skip
