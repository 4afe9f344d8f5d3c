"""Weight files: find them, and load them into the part of a network that they are for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from flowkit.catalog import data_root
from flowkit.errors import UsageError
from flowkit.streams import STREAMS
from models.backbones.backbone import Backbone
from models.networks.pyramid import PyramidNetwork
from models.networks.two_stream import TwoStream
from models.weights.pretrained import LoadedWeights, WeightsError, load_weights, read_weights
from models.weights.weight_files import convert_weights
from train.recipe.recipe import ImageRecipe, Stream
from train.runs.phases import INITIAL, Phase
from train.runs.run import Run, RunError

BRANCHES: tuple[Stream, ...] = ("rgb", "flow")
SUFFIXES = (".pth", ".pt", ".safetensors")


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
        The used and the skipped weights, by name of the file and of the branch.

    Raises:
        UsageError: A file does not exist, or is of another network.
    """
    files = recipe.network.weights
    loaded: dict[str, LoadedWeights] = {}
    if "both" in files:
        with convert_weights_errors(files["both"], "both"):
            weights = read_weights(find_weight_file(files["both"]))
            # Blocks that were still the identity are in no file.
            absent = (f"to_{b}." for b in BRANCHES if not has_prefix(weights, f"to_{b}."))
            last = tuple(get_last_layer_prefix(network, branch) for branch in BRANCHES)
            skip = (*last, *absent)
            loaded[files["both"]] = load_weights(network, weights, skip=skip)
    for branch, source in phase.start.items():
        name = files.get(branch) or (files.get("rgb") if branch == "flow" else None)
        if source != INITIAL or name is None:
            continue
        with convert_weights_errors(name, branch):
            weights, left_out = select_trunk_weights(read_weights(find_weight_file(name)), branch)
            trunk = get_trunk(network, branch)
            report = load_weights(
                trunk,
                convert_weights(trunk, weights),
                skip=(f"{trunk.last_layer_name}.",),
                inflate_channels=not STREAMS[branch].fits_rgb_weights,
                inflate_time=trunk.dims == 3,
            )
        loaded[f"{name} for {branch}"] = replace(report, skipped=(*report.skipped, *left_out))
    return loaded


def select_trunk_weights(
    weights: dict[str, torch.Tensor], branch: Stream
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Choose the weights of a backbone from those of a file, and drop the prefix of their names.

    Args:
        weights: All weights of the file, by name: those of a backbone, or of a phase.
        branch: The branch of a phase whose backbone is wanted. If the phase did not save it, the
            other branch is taken, so that flow can start from a phase of RGB.

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
    """Describe how many weights a file gave, and which of them were skipped or left out."""
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


def get_last_layer_prefix(network: TwoStream, branch: Stream) -> str:
    """Return the prefix of the names of a branch's last layer."""
    trunk = "trunk." if isinstance(getattr(network, branch), PyramidNetwork) else ""
    return f"{branch}.{trunk}{get_trunk(network, branch).last_layer_name}."


def load_phase_weights(network: nn.Module, run: Run, phase: Phase) -> None:
    """Load the weights of a finished phase into its network, and put that in eval mode.

    Args:
        network: The network, which is changed.
        run: The run.
        phase: A phase of the run.

    Raises:
        RunError: The phase is not finished, or its file is damaged or of another network.
    """
    weights = read_phase_weights(run, phase.name)
    try:
        load_weights(network, weights)
    except WeightsError as error:
        raise RunError(f"{error}. Train phase {phase.name} again, without this file") from error
    network.eval()


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
        return read_weights(path)
    except WeightsError as error:
        raise RunError(f"{error}. Train phase {phase} again, without this file") from error


def find_weight_file(name: str) -> Path:
    """Find a weight file. Nothing is downloaded.

    Args:
        name: A path of a file, the folder of a finished phase, or the beginning of a file's name.
            ``resnet50`` finds resnet50*.pth and resnet50*.safetensors in
            ``$FLOWKIT_DATA/weights`` and in torch's cache.

    Raises:
        UsageError: There is no such file. The message says how to get it.
    """
    path = Path(name).expanduser()
    if path.is_dir() and (path / "weights.pt").is_file():
        return path / "weights.pt"
    if path.is_file():
        return path
    folders = [data_root() / "weights", Path(torch.hub.get_dir()) / "checkpoints"]
    for folder in folders:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.name.startswith(name) and file.suffix in SUFFIXES and file.is_file():
                return file
    if len(path.parts) > 1 or path.suffix in SUFFIXES:
        raise UsageError(
            f"no weights {name!r}: expected a file, or the folder of a finished phase (with "
            "weights.pt); there is none"
        )
    raise UsageError(
        f"no weights {name!r}: looked for a file, for the folder of a finished phase, and in "
        f"{' and '.join(map(str, folders))}. Put a file {name}*.pth there, or name one by its "
        f"path; torchvision's own come there by torchvision.models.{name}(weights='DEFAULT')"
    )


def get_trunk(network: TwoStream, branch: Stream) -> Backbone:
    """Return the backbone of a branch, with or without pyramid attention around it."""
    module: Backbone | PyramidNetwork = getattr(network, branch)
    return module.trunk if isinstance(module, PyramidNetwork) else module


def has_prefix(weights: dict[str, torch.Tensor], prefix: str) -> bool:
    """Return whether the name of any weight starts with a prefix."""
    return any(name.startswith(prefix) for name in weights)


def list_branch_prefixes(branch: Stream) -> tuple[str, ...]:
    """Return the prefixes of all weights that are trained with a branch."""
    return (f"{branch}.", f"to_{branch}.", f"non_local_{branch}.")
