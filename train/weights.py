"""Weights that a training starts from: where they are found, and which part they are for."""

from pathlib import Path

import torch

from flowkit.catalog import data_root
from flowkit.errors import UsageError
from models.backbones.backbone import Backbone
from models.pretrained import Loaded, load_weights, read_weights
from models.pyramid import PyramidNetwork
from models.two_stream import TwoStream
from models.weight_files import convert_weights
from train.alternate import INITIAL, Phase
from train.recipe import Recipe, Stream

BRANCHES: tuple[Stream, ...] = ("rgb", "flow")


def load_initial(network: TwoStream, recipe: Recipe, phase: Phase) -> dict[str, Loaded]:
    """Load the recipe's weight files into what starts from them; last layers stay random.

    What each file gave, by its name and the branch.
    """
    files = recipe.network.weights
    loaded: dict[str, Loaded] = {}
    if "both" in files:
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
        weights = read_weights(find_weights(name))
        own = {k.removeprefix(f"{branch}.").removeprefix("trunk."): v for k, v in weights.items()}
        parts = ("to_", "non_local_", "attention.")
        own = {k: v for k, v in own.items() if not k.startswith(parts)}
        trunk = trunk_of(network, branch)
        loaded[f"{name} for {branch}"] = load_weights(
            trunk,
            convert_weights(trunk, own),
            skip=(f"{trunk.last}.",),
            inflate_channels=branch == "flow",
            inflate_time=trunk.dims == 3,
        )
    return loaded


def name_last(network: TwoStream, branch: Stream) -> str:
    """The beginning of the names of a branch's last layer."""
    inside = "trunk." if isinstance(getattr(network, branch), PyramidNetwork) else ""
    return f"{branch}.{inside}{trunk_of(network, branch).last}."


def find_weights(name: str) -> Path:
    """A weight file by path, by phase folder of a run, or by name in the usual folders.

    A name such as ``resnet50`` finds resnet50*.pth and *.safetensors in ``$FLOWKIT_DATA/weights``
    and in torch's own cache. Nothing is downloaded. Raises UsageError saying how to get it.
    """
    path = Path(name).expanduser()
    if path.is_dir() and (path / "weights.pt").is_file():
        return path / "weights.pt"
    if path.is_file():
        return path
    folders = [data_root() / "weights", Path(torch.hub.get_dir()) / "checkpoints"]
    found = [f for folder in folders for f in sorted(folder.glob(f"{name}*")) if f.is_file()]
    found = [file for file in found if file.suffix in (".pth", ".pt", ".safetensors")]
    if found:
        return found[0]
    raise UsageError(
        f"no weights {name!r}: looked for a file, for the folder of a finished phase, and in "
        f"{' and '.join(map(str, folders))}. Put a file {name}*.pth there, or say --weights "
        f"rgb=FILE; torchvision's own come there by torchvision.models.{name}(weights='DEFAULT')"
    )


def trunk_of(network: TwoStream, branch: Stream) -> Backbone:
    """The backbone of a branch, whatever stands inside of it."""
    found: Backbone | PyramidNetwork = getattr(network, branch)
    return found.trunk if isinstance(found, PyramidNetwork) else found


def has_part(weights: dict[str, torch.Tensor], prefix: str) -> bool:
    """Whether any of the weights is of a part of a network."""
    return any(name.startswith(prefix) for name in weights)


def parts_of(branch: Stream) -> tuple[str, ...]:
    """Prefixes of all weights that are trained with a branch."""
    return (f"{branch}.", f"to_{branch}.", f"non_local_{branch}.")
