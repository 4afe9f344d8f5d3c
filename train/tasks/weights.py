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


def load_initial(network: TwoStream, recipe: ImageRecipe, phase: Phase) -> dict[str, LoadedWeights]:
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
        with name_weight_file(files["both"], "both"):
            weights = read_weights(find_weights(files["both"]))
            # Blocks that were still the identity are in no file.
            absent = (f"to_{b}." for b in BRANCHES if not has_part(weights, f"to_{b}."))
            last = tuple(name_last(network, branch) for branch in BRANCHES)
            skip = (*last, *absent)
            loaded[files["both"]] = load_weights(network, weights, skip=skip)
    for branch, source in phase.start.items():
        name = files.get(branch) or (files.get("rgb") if branch == "flow" else None)
        if source != INITIAL or name is None:
            continue
        with name_weight_file(name, branch):
            own, left = take_trunk(read_weights(find_weights(name)), branch)
            trunk = trunk_of(network, branch)
            found = load_weights(
                trunk,
                convert_weights(trunk, own),
                skip=(f"{trunk.last}.",),
                inflate_channels=not STREAMS[branch].fits_rgb_weights,
                inflate_time=trunk.dims == 3,
            )
        loaded[f"{name} for {branch}"] = replace(found, skipped=(*found.skipped, *left))
    return loaded


def take_trunk(
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
    own, left = weights, set()
    found = [b for b in (branch, *BRANCHES) if has_part(weights, f"{b}.")]
    for prefix in (f"{found[0]}." if found else "", "trunk."):
        if has_part(own, prefix):
            left |= {name_part(name) for name in own if not name.startswith(prefix)}
            own = {n.removeprefix(prefix): t for n, t in own.items() if n.startswith(prefix)}
    return own, tuple(sorted(left))


def name_part(name: str) -> str:
    """Name the part that a weight belongs to, such as ``rgb.*``."""
    return f"{name.partition('.')[0]}.*"


@contextmanager
def name_weight_file(name: str, branch: str) -> Iterator[None]:
    """Turn a WeightsError into a UsageError that names the recipe's weight file.

    Args:
        name: The file as the recipe names it.
        branch: What the file is for: "rgb", "flow", "both", "audio" or "sets".

    Raises:
        UsageError: The block raised WeightsError.
    """
    of_sets = branch == "sets"
    try:
        yield
    except WeightsError as error:
        raise UsageError(
            f"recipe: {'sets.weights' if of_sets else f'network.weights.{branch}'}: {name}: "
            f"{error} (--weights {branch}=FILE, or "
            f"{'other sets' if of_sets else 'another network.backbone'})"
        ) from error


def name_last(network: TwoStream, branch: Stream) -> str:
    """Return the prefix of the names of a branch's last layer."""
    inside = "trunk." if isinstance(getattr(network, branch), PyramidNetwork) else ""
    return f"{branch}.{inside}{trunk_of(network, branch).last}."


def load_finished(network: nn.Module, run: Run, phase: Phase) -> None:
    """Load the weights of a finished phase into its network, and put that in eval mode.

    Args:
        network: The network, which is changed.
        run: The run.
        phase: A phase of the run.

    Raises:
        RunError: The phase is not finished, or its file is damaged or of another network.
    """
    weights = read_finished(run, phase.name)
    try:
        load_weights(network, weights)
    except WeightsError as error:
        raise RunError(f"{error}. Train phase {phase.name} again, without this file") from error
    network.eval()


def read_finished(run: Run, phase: str) -> dict[str, torch.Tensor]:
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


def find_weights(name: str) -> Path:
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
    found = [
        file
        for folder in folders
        if folder.is_dir()
        for file in sorted(folder.iterdir())
        if file.name.startswith(name) and file.suffix in SUFFIXES and file.is_file()
    ]
    if found:
        return found[0]
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


def trunk_of(network: TwoStream, branch: Stream) -> Backbone:
    """Return the backbone of a branch, with or without pyramid attention around it."""
    found: Backbone | PyramidNetwork = getattr(network, branch)
    return found.trunk if isinstance(found, PyramidNetwork) else found


def has_part(weights: dict[str, torch.Tensor], prefix: str) -> bool:
    """Return whether the name of any weight starts with a prefix."""
    return any(name.startswith(prefix) for name in weights)


def parts_of(branch: Stream) -> tuple[str, ...]:
    """Return the prefixes of all weights that are trained with a branch."""
    return (f"{branch}.", f"to_{branch}.", f"non_local_{branch}.")
