"""Describe a weight file: what network it is of, and which recipes can start from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from flowkit.streams import StreamName
from models.weights.families import Family, identify_family
from models.weights.foreign_families import ForeignFamily, name_foreign_family
from models.weights.pretrained import digest_weights, read_weights
from models.weights.publishers import InputNote, describe_difference, describe_input
from train.runs.run import Run
from train.tasks.backbones import is_offered
from train.tasks.weight_hints import describe_channels, find_stream
from train.tasks.weight_recipes import Start, list_starts
from train.tasks.weight_search import find_weight_file
from train.tasks.weights import BRANCHES, has_prefix, select_backbone_weights

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
SET_NETWORK = ("parts.", "classifier.")  # of networks for sets of features


@dataclass(frozen=True, kw_only=True)
class NetworkDescription:
    """One backbone of a file."""

    branch: str | None
    """The branch of a phase; None for a file of one network."""

    family: Family | None
    """The network that the weights belong to, or the nearest one."""

    foreign: ForeignFamily | None
    """A network that this project does not have, if the weights are of one."""

    starts: tuple[Start, ...]
    """The recipes that can start from these weights."""

    @property
    def stream(self) -> str | None:
        """The stream that the network reads, by its input channels."""
        return None if self.family is None else find_stream(self.family)

    @property
    def input_note(self) -> InputNote | None:
        """How the publisher normalizes the input."""
        if self.family is None or not self.family.is_exact or self.stream is None:
            return None
        return describe_input(self.family.backbone, self.family.publisher, self.stream)

    @property
    def feature_backbone(self) -> str | None:
        """The value of `flowkit features --backbone` for these weights; None if it has none."""
        family = self.family
        if family is None or not family.is_exact or self.stream is None:
            return None
        return family.backbone if is_offered(family.backbone, family.options) else None


@dataclass(frozen=True, kw_only=True)
class WeightDescription:
    """A weight file."""

    path: Path
    """The file."""

    num_tensors: int
    """Number of tensors."""

    num_parameters: int
    """Number of weights and biases; statistics of batch normalization are not counted."""

    digest: str
    """Digest of the weights, independent of the format of the file (`digest_weights`)."""

    run: str | None
    """The phase and the run that the file belongs to, in words; None for other files."""

    networks: tuple[NetworkDescription, ...]
    """The backbones of the file. Empty for a network of sets of features."""

    left_out: tuple[str, ...]
    """Parts of the file that are in no backbone, such as attention."""


def describe_weights(name: str) -> WeightDescription:
    """Describe a weight file.

    Args:
        name: A path of a file, the folder of a finished phase, or the beginning of a file's name,
            as `train.tasks.weight_search.find_weight_file` finds it.

    Raises:
        UsageError: There is no such file.
        WeightsError: It is not a weight file.
    """
    path = find_weight_file(name)
    weights = read_weights(path)
    branches = [branch for branch in BRANCHES if has_prefix(weights, f"{branch}.")]
    is_set_network = all(has_prefix(weights, prefix) for prefix in SET_NETWORK)
    left_out: set[str] = set()
    networks = []
    parts: list[StreamName | None] = [*branches]
    if not branches and not is_set_network:
        parts.append(None)
    for branch in parts:
        backbone, others = select_backbone_weights(weights, branch or "rgb")
        left_out |= {part for part in others if part.split(".")[0] not in branches}
        networks.append(_describe_network(backbone, branch, len(branches) == len(BRANCHES)))
    return WeightDescription(
        path=path,
        num_tensors=len(weights),
        num_parameters=sum(t.numel() for n, t in weights.items() if not n.endswith(BUFFERS)),
        digest=digest_weights(weights),
        run=_describe_run(path),
        networks=tuple(networks),
        left_out=tuple(sorted(left_out)),
    )


def _describe_network(
    weights: Mapping[str, Tensor], branch: str | None, has_both: bool
) -> NetworkDescription:
    """Describe one backbone of a file."""
    family = identify_family(weights)
    is_exact = family is not None and family.is_exact
    starts = list_starts(family) if family is not None else []
    if family is not None and has_both:
        starts += list_starts(family, has_both=True)
    return NetworkDescription(
        branch=branch,
        family=family,
        foreign=None if is_exact else name_foreign_family(weights),
        starts=tuple(starts),
    )


def _describe_run(path: Path) -> str | None:
    """Name the phase and the run that a file belongs to, in RUN/phases/PHASE/weights.pt."""
    folder = path.absolute().parent
    if folder.parent.name != "phases" or not (folder.parents[1] / "run.json").is_file():
        return None
    run = Run(folder.parents[1])
    return f"phase {folder.name} of the run {run.path} ({run.recipe.title})"


# --- text and JSON -------------------------------------------------------------------------------


def format_description(description: WeightDescription) -> Iterator[str]:
    """Yield the lines that describe a file."""
    size = description.path.stat().st_size / 1e6
    yield f"{description.path}: {size:,.1f} MB"
    if description.run is not None:
        yield f"  {description.run}"
    yield f"  tensors        {description.num_tensors:,}; parameters {description.num_parameters:,}"
    yield f"  digest         {description.digest}"
    if not description.networks:
        yield "  network        attention or fusion over sets of features, of a run of flowkit"
        yield "  recipes        those with the same features and method: --weights sets=FILE"
    for network in description.networks:
        if network.branch is not None:
            yield f"branch {network.branch}:"
        yield from _format_network(network)
    if description.left_out:
        yield f"  not used       {', '.join(description.left_out)}: attention of the phase"


def _format_network(network: NetworkDescription) -> Iterator[str]:
    """Yield the lines that describe one backbone."""
    family = network.family
    if family is None or not family.is_exact:
        if network.foreign is not None:
            yield f"  network        {network.foreign.title}, which recipes do not have"
            yield f"  instead        {network.foreign.advice}"
        else:
            yield "  network        unknown"
        if family is not None:
            yield f"  nearest        {family.title}: {family.share:.0%} of the tensors agree"
            yield f"  differs        {family.describe_difference()}"
        return
    yield f"  network        {family.title}; names of {family.publisher}"
    classes = f"{family.num_classes} (last layer {family.last_layer})"
    yield f"  classes        {classes if family.num_classes else 'none: it has no last layer'}"
    yield f"  input          {describe_channels(family.in_channels, family.dims)}"
    note = network.input_note
    if note is not None:
        same = "recipes normalize it the same" if note.is_same else "NOT the same in recipes"
        yield f"  normalization  {note.text} ({same})"
    difference = describe_difference(family.backbone, family.publisher)
    if difference is not None:
        yield f"  note           {difference}"
    if family.num_classes:
        yield f"  skipped        {', '.join(family.last_layer_tensors)}: recipes train their own"
    yield from _format_starts(network)
    if network.feature_backbone is not None and network.branch is None:
        yield f"  features       --model FILE --backbone {network.feature_backbone}"


def _format_starts(network: NetworkDescription) -> Iterator[str]:
    """Yield the lines about recipes, those with the same option together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for start in network.starts:
        groups.setdefault((start.branch, start.how), []).append(start.recipe)
    for (branch, how), recipes in groups.items():
        yield f"  recipes        --weights {branch}=FILE ({how}):"
        yield f"                 {', '.join(recipes)}"
    if not groups:
        yield "  recipes        none has this network; --set changes network.backbone"


def make_json(description: WeightDescription) -> dict[str, Any]:
    """Return the description as values for JSON."""
    return {
        "path": str(description.path),
        "bytes": description.path.stat().st_size,
        "tensors": description.num_tensors,
        "parameters": description.num_parameters,
        "digest": description.digest,
        "run": description.run,
        "left_out": list(description.left_out),
        "networks": [_make_network_json(network) for network in description.networks],
    }


def _make_network_json(network: NetworkDescription) -> dict[str, Any]:
    """Return the description of one backbone as values for JSON."""
    family, note, foreign = network.family, network.input_note, network.foreign
    title, advice = (foreign.title, foreign.advice) if foreign else (None, None)
    if family is None:
        return {"branch": network.branch, "title": title, "is_exact": False, "advice": advice}
    return {
        "branch": network.branch,
        "title": title or family.title,
        "advice": advice,
        "is_exact": family.is_exact,
        "nearest": family.backbone,
        "backbone": family.backbone if family.is_exact else None,
        "options": dict(family.options),
        "publisher": family.publisher,
        "classes": family.num_classes,
        "last_layer": family.last_layer,
        "channels": family.in_channels,
        "stream": network.stream,
        "normalization": note.text if note else None,
        "normalization_is_same": note.is_same if note else None,
        "note": describe_difference(family.backbone, family.publisher),
        "skipped": list(family.last_layer_tensors),
        "differs": family.describe_difference(),
        "recipes": [
            {"recipe": s.recipe, "option": f"--weights {s.branch}=FILE", "how": s.how}
            for s in network.starts
        ],
        "features": network.feature_backbone,
    }
