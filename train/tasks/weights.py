"""Find weight files, and load them into the part of a network that they are for.

A branch is the network of one stream (``rgb``, ``flow``), named after it. It is a backbone, or a
backbone with pyramid attention inside, whose weights then have the prefix ``trunk.``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import torch
from torch import nn

from flowkit.errors import UsageError
from flowkit.streams import STREAMS, StreamName
from models.backbones.backbone import Backbone
from models.networks.pyramid import PyramidNetwork
from models.networks.two_stream import BLOCK_KINDS, TwoStream
from models.weights.pretrained import LoadedWeights, WeightsError, load_weights, read_weights
from models.weights.weight_files import convert_weights
from train.recipe.recipe import AudioRecipe, ImageRecipe
from train.runs.archive import check_archive
from train.runs.phases import INITIAL, Phase
from train.runs.run import Run, RunError
from train.tasks.weight_hints import suggest_network
from train.tasks.weight_search import find_weight_file

BRANCHES: tuple[StreamName, ...] = ("rgb", "flow")


def load_initial_weights(
    network: TwoStream, recipe: ImageRecipe, phase: Phase
) -> dict[str, LoadedWeights]:
    """Load the recipe's weight files into the branches that start from them.

    The last layer of each branch stays random.

    Args:
        network: The network, which is changed.
        recipe: The recipe, which names the files.
        phase: The phase to start.

    Returns:
        The names of the used and the skipped weights of each file, by the name of the file and of
        the branch.

    Raises:
        UsageError: A file does not exist, or its weights do not fit the network.
    """
    files = recipe.network.weights
    loaded: dict[str, LoadedWeights] = {}
    if "both" in files:
        with convert_weights_errors(files["both"], "both"):
            weights = read_weights(find_weight_file(files["both"]))
            if not all(has_prefix(weights, f"{branch}.") for branch in BRANCHES):
                raise WeightsError(
                    "it has not both branches, as a phase with cross-modality attention has: "
                    "--weights rgb=FILE, and --weights flow=FILE"
                )
            # A phase does not save blocks that are still the identity.
            absent = (f"to_{b}." for b in BRANCHES if not has_prefix(weights, f"to_{b}."))
            last = tuple(get_last_layer_prefix(network, branch) for branch in BRANCHES)
            skip = (*last, *absent)
            loaded[files["both"]] = load_weights(network, weights, skip=skip)
    for branch, source in phase.weight_sources.items():
        name = files.get(branch) or (files.get("rgb") if branch == "flow" else None)
        if source != INITIAL or name is None:
            continue
        with convert_weights_errors(name, branch):
            weights, left_out = select_backbone_weights(
                read_weights(find_weight_file(name)), branch
            )
            report = load_backbone_weights(get_backbone(network, branch), weights, recipe, branch)
        loaded[f"{name} for {branch}"] = replace(report, skipped=(*report.skipped, *left_out))
    return loaded


def load_backbone_weights(
    backbone: Backbone,
    weights: dict[str, torch.Tensor],
    recipe: ImageRecipe | AudioRecipe,
    branch: StreamName,
) -> LoadedWeights:
    """Load the weights of any publisher into the backbone of a branch, except its last layer.

    Args:
        backbone: The backbone, which is changed.
        weights: Its weights, by the names of any publisher.
        recipe: The recipe.
        branch: The branch.

    Raises:
        WeightsError: The weights do not fit. The message says what they are, and with which option
            they would fit.
    """
    try:
        return load_weights(
            backbone,
            convert_weights(backbone, weights),
            skip=(f"{backbone.last_layer_name}.",),
            inflate_channels=not STREAMS[branch].fits_rgb_weights,
            inflate_time=backbone.dims == 3,
        )
    except WeightsError as error:
        hint = suggest_network(weights, asdict(recipe.network), branch)
        raise WeightsError(f"{hint}. In detail: {error}") from error


def select_backbone_weights(
    weights: dict[str, torch.Tensor], branch: StreamName
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Select the weights of a backbone from those of a file, and drop the prefix of their names.

    Args:
        weights: All weights of the file, by name: those of a backbone, or of a phase.
        branch: The branch of a phase whose backbone is wanted. If the phase did not save it, the
            other branch is used, so that flow can start from a phase that trained RGB.

    Returns:
        The backbone's weights by its own names, and the parts of the file that were left out.
    """
    left_out = set()
    branches = [b for b in (branch, *BRANCHES) if has_prefix(weights, f"{b}.")]
    for prefix in (f"{branches[0]}." if branches else "", "trunk."):
        if has_prefix(weights, prefix):
            left_out |= {f"{n.partition('.')[0]}.*" for n in weights if not n.startswith(prefix)}
            weights = {
                n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)
            }
    return weights, tuple(sorted(left_out))


def describe_loaded_weights(
    loaded: LoadedWeights, name: str, left_out: tuple[str, ...] = ()
) -> str:
    """Describe how many weights of a file were used, and which were skipped or left out."""
    skipped = ", ".join((*loaded.skipped, *left_out)) or "none"
    return f"{len(loaded.used)} weights from {name}; skipped: {skipped}"


@contextmanager
def convert_weights_errors(name: str, branch: str) -> Iterator[None]:
    """Turn a WeightsError into a UsageError that names the recipe's weight file.

    Args:
        name: The file as the recipe names it.
        branch: What the file is for: "rgb", "flow", "both", "audio" or "sets".

    Raises:
        UsageError: The block raised WeightsError.
    """
    key, alternative = f"network.weights.{branch}", "another network.backbone"
    if branch == "sets":
        key, alternative = "sets.weights", "other sets"
    try:
        yield
    except WeightsError as error:
        raise UsageError(
            f"recipe: {key}: {name}: {error} (--weights {branch}=FILE, or {alternative})"
        ) from error


def get_last_layer_prefix(network: TwoStream, branch: StreamName) -> str:
    """Return the prefix of the names of a branch's last layer."""
    inner_prefix = "trunk." if isinstance(getattr(network, branch), PyramidNetwork) else ""
    return f"{branch}.{inner_prefix}{get_backbone(network, branch).last_layer_name}."


def load_phase_weights(network: nn.Module, run: Run, phase: Phase) -> None:
    """Load the weights of a finished phase into its network, and set the network to eval mode.

    Args:
        network: The network, which is changed.
        run: The run.
        phase: A phase of the run.

    Raises:
        RunError: The phase is not finished, or its file is damaged or does not fit the network.
    """
    weights = read_phase_weights(run, phase.name)
    try:
        load_weights(network, weights)
    except WeightsError as error:
        raise make_misfit_error(error, run, phase.name) from error
    network.eval()


def make_misfit_error(error: WeightsError, run: Run, phase: str) -> RunError:
    """Make the error that the weights of a finished phase do not fit its network.

    Args:
        error: The error of `load_weights`.
        run: The run.
        phase: Name of the phase.
    """
    path = run.folder(phase) / "weights.pt"
    return RunError(f"{path}: {error}. Remove this file and train phase {phase} again")


def read_phase_weights(run: Run, phase: str) -> dict[str, torch.Tensor]:
    """Read the weights that a finished phase saved.

    Args:
        run: The run.
        phase: Name of the phase.

    Raises:
        RunError: The phase is not finished, or its file is damaged.
    """
    path = run.folder(phase) / "weights.pt"
    if not path.is_file():
        raise RunError(f"{run.path}: phase {phase} is not finished; run flowkit train again")
    try:
        check_archive(path)
        return read_weights(path)
    except (WeightsError, RunError) as error:
        raise RunError(f"{error}. Remove this file and train phase {phase} again") from error


def get_backbone(network: TwoStream, branch: StreamName) -> Backbone:
    """Return the backbone of a branch, whether or not it has pyramid attention inside."""
    module: Backbone | PyramidNetwork = getattr(network, branch)
    return module.trunk if isinstance(module, PyramidNetwork) else module


def has_prefix(weights: dict[str, torch.Tensor], prefix: str) -> bool:
    """Return whether the name of any weight starts with a prefix."""
    return any(name.startswith(prefix) for name in weights)


def list_branch_prefixes(branch: StreamName) -> tuple[str, ...]:
    """Return the prefixes of the weights of a branch and of the blocks that write to it."""
    return (f"{branch}.", *(f"{kind}_{branch}." for kind in BLOCK_KINDS))
