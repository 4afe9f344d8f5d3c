"""Find the recipes that can start from the weights of a network."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from models.weights.families import Family
from train.recipe.inheritance import list_recipes, read_content
from train.recipe.sections import Data, Network
from train.tasks.weight_hints import INFLATED, find_stream, list_settings, name_recipe_network

DEFAULT_NETWORK, DEFAULT_DATA = asdict(Network()), asdict(Data())
AS_IT_IS, INFLATION = "as it is", "inflated: each kernel is repeated along time"
AVERAGED = "averaged: each input channel of the first layer gets the mean of those of the file"


@dataclass(frozen=True)
class Start:
    """A recipe that can start from a weight file."""

    recipe: str
    """Name of the recipe."""

    branch: str
    """The branch that starts from the file: rgb, flow, both or audio."""

    how: str
    """How the weights are converted, in words."""


def list_starts(family: Family, has_both: bool = False) -> list[Start]:
    """List the recipes of this package that can start from weights.

    Args:
        family: The network that the weights belong to.
        has_both: Whether the file has both branches of a phase with cross-modality attention.

    Returns:
        The recipes, sorted by name. Flow and audio start from weights of RGB if a recipe has no
        branch rgb; otherwise flow starts from the branch rgb by itself.
    """
    if not family.is_exact:
        return []
    return [start for name in list_recipes() for start in _list_branches(name, family, has_both)]


def _list_branches(name: str, family: Family, has_both: bool) -> Iterator[Start]:
    """Yield the branches of a recipe that can start from weights."""
    content = _read_sections(name)
    if content is None:
        return
    network, data, streams = content
    how = _match_network(family, network)
    stream = find_stream(family)
    if how is None or stream is None:
        return
    if has_both or network["cma"]:
        if has_both and network["cma"]:
            yield Start(name, "both", how)
        return
    if stream in streams:
        branch: str = stream
    elif stream == "rgb" and len(streams) == 1:
        branch = streams[0]  # flow or audio, whose first layer is averaged over R, G and B
    else:
        return
    fields_per_image = 1 if data["clip"] else data["flow_length"]
    expected = {"rgb": 3, "flow": 2 * fields_per_image, "audio": 1}[branch]
    is_averaged = expected != family.in_channels
    if is_averaged and stream != "rgb":
        return  # only the first layer of RGB can be averaged
    if is_averaged:
        how = AVERAGED if how == AS_IT_IS else f"{how}; {AVERAGED}"
    yield Start(name, branch, how)


@cache
def _read_sections(name: str) -> tuple[dict[str, Any], dict[str, Any], list[str]] | None:
    """Read the sections network and data of a recipe, with defaults, and its streams.

    This reads the file alone, without the checks of `read_draft`, which would take twice as long.

    Returns:
        None for a recipe that trains on sets of features.
    """
    content = read_content(name)[0]
    if content.get("sets") is not None:
        return None
    network = {**DEFAULT_NETWORK, **(content.get("network") or {})}
    data = {**DEFAULT_DATA, **(content.get("data") or {})}
    streams = content.get("streams")
    return network, data, streams if isinstance(streams, list) else ["rgb", "flow"]


def _match_network(family: Family, network: Mapping[str, Any]) -> str | None:
    """Say how weights fit the network of a recipe; None if they do not."""
    wanted = name_recipe_network(network)
    if wanted == "i3d" and family.backbone == INFLATED and "width" not in family.options:
        return INFLATION if int(network["width"]) == 64 else None
    if wanted != family.backbone:
        return None
    settings = list_settings(family)
    blocks = ", ".join(map(str, network["blocks"]))
    fits_width = wanted == "inception_resnet_v2" or settings["network.width"] == str(
        network["width"]
    )
    fits_blocks = settings.get("network.blocks", f"[{blocks}]") == f"[{blocks}]"
    return AS_IT_IS if fits_width and fits_blocks else None
