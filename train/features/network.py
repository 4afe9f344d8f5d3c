"""Load the network that computes features from a run of `flowkit train` or a weight file.

A feature is the output of a backbone's `embed`: the pooled features before dropout and the last
layer. The last layer is therefore ignored and excluded from the digest of the weights.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from flowkit.datasets.transforms import CentreCrop, Crops, TenCrop, ThreeCrop
from flowkit.datasets.views import Source, ViewSampling, count_views
from flowkit.errors import UsageError
from flowkit.recipe import FeatureRecipe
from models.backbones.backbone import Backbone, InputConvention
from models.weights.pretrained import WeightsError, digest_weights, load_weights, read_weights
from models.weights.weight_files import convert_weights
from train.recipe.recipe import AudioRecipe, FeatureSetRecipe, ImageRecipe, Network, Stream
from train.runs.phases import Phase, list_split_phases
from train.runs.run import Run
from train.tasks.audio import AudioTask
from train.tasks.backbones import FAMILIES, OPTIONS
from train.tasks.networks import load_phase_network
from train.tasks.weights import find_weight_file, get_trunk, has_prefix, select_trunk_weights

NETWORKS: dict[str, Network] = {
    **{f"resnet{d}": Network(backbone="resnet", depth=d) for d in (18, 34, 50, 101, 152)},
    "vgg16": Network(backbone="vgg16"),
    "bn_inception": Network(backbone="bn_inception"),
    "inception_resnet_v2": Network(backbone="inception_resnet_v2"),
    "i3d": Network(backbone="i3d"),
    "p3d": Network(backbone="p3d"),
}
CROPS: Mapping[str, type[CentreCrop] | type[TenCrop] | type[ThreeCrop]] = {
    "centre": CentreCrop,
    "three": ThreeCrop,
    "ten": TenCrop,
}
WHOLE = "whole"  # crops of audio patches, which are not cropped
POSITIONS, CLIPS = 25, 10  # Attention Clusters on Kinetics; CATNet, three crops each


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The network and sampling that the user asked for; None where an option was not given."""

    model: str
    """A run folder, or a weight file together with `backbone`."""
    backbone: str | None = None
    """Name of the backbone of a weight file."""
    stream: Source | None = None
    """The stream whose network is used."""
    split: int | None = None
    """The split whose network is used, in a run of several splits."""
    positions: int | None = None
    """Number of positions per video; see `FeatureRecipe`."""
    crops: str | None = None
    """Name of the crops: "centre", "three" or "ten"."""
    size: int | None = None
    """Side of a crop in pixels."""
    clip_length: int | None = None
    """Number of frames or flow fields in a clip."""
    clip_stride: int | None = None
    """Distance between the frames of a clip."""


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """A backbone in eval mode, with the sampling of its input."""

    backbone: Backbone
    """The backbone in eval mode."""
    path: Path
    """File that the weights come from."""
    recipe: FeatureRecipe
    """Recipe of the features."""
    convention: InputConvention
    """Normalization of the input."""
    short_side: int | None = None
    """Shorter side in pixels of the frames it was trained on, or None if unknown."""

    @property
    def is_3d(self) -> bool:
        """Return whether the network takes clips."""
        return self.backbone.dims == 3

    @property
    def sampling(self) -> ViewSampling:
        """Return how positions in a video are sampled."""
        recipe = self.recipe
        return ViewSampling(
            source=cast(Source, recipe.source),
            positions=recipe.positions,
            length=recipe.clip_length,
            stride=recipe.clip_stride,
        )

    @property
    def crops(self) -> Crops:
        """Return the crops of an image; audio has one view, uncropped."""
        return make_crops(self.recipe)

    @property
    def views(self) -> int:
        """Return the number of views per position."""
        return count_views(self.crops)


def make_crops(recipe: FeatureRecipe) -> Crops:
    """Build the crops of a recipe; audio is not cropped and gets a single view."""
    if recipe.source == "audio":
        return CentreCrop(1)
    crops: Crops = CROPS[recipe.crops](recipe.size)
    return crops


def find_network(wanted: Wanted) -> FeatureNetwork:
    """Load the network that the user asked for.

    Raises:
        UsageError: It makes no local features, or the weights do not fit the backbone.
        RunError: The run is not finished.
    """
    return find_in_run(wanted) if is_run(wanted.model) else find_in_file(wanted)


def is_run(model: str) -> bool:
    """Return whether a path is a run folder."""
    return (Path(model) / "run.json").exists()


# --- runs ----------------------------------------------------------------------------------------


def find_in_run(wanted: Wanted) -> FeatureNetwork:
    """Load the branch of a run that was trained alone."""
    if wanted.backbone is not None:
        raise UsageError(f"{wanted.model} is a run, whose recipe says the backbone: no --backbone")
    run = Run(wanted.model)
    recipe, stream = choose_stream(run, wanted.stream)
    phase = choose_phase(run, stream, wanted.split)
    if isinstance(recipe, AudioRecipe):
        backbone = AudioTask(recipe).load_finished_network(run, phase)
    else:
        assert stream != "audio"
        backbone = get_trunk(load_phase_network(run, phase, stream), stream)
    network, data = recipe.network, recipe.data
    depth = str(network.depth) if network.backbone == "resnet" else ""
    snippet = (data.flow_length, 1) if stream == "flow" else (1, 1)
    length, stride = (data.clip.length, data.clip.stride) if data.clip else snippet
    return look(
        wanted,
        backbone,
        run.folder(phase.name) / "weights.pt",
        f"{network.backbone}{depth} of {run.recipe.title}",
        stream,
        (data.size, length, stride),
        data.short_side,
    )


def choose_stream(run: Run, asked: Source | None) -> tuple[ImageRecipe | AudioRecipe, Stream]:
    """Choose the stream of a run whose network is used.

    Args:
        run: The run.
        asked: The stream, or None for the only one.

    Returns:
        The recipe and the stream.

    Raises:
        UsageError: The run has no such network, or its branch is not a plain one.
    """
    recipe = run.recipe
    if isinstance(recipe, FeatureSetRecipe):
        raise UsageError(
            f"{run.path} was trained on features, of which it makes scores and no features: take "
            "the run, or the weights, that made them"
        )
    streams = recipe.streams
    if asked is None and len(streams) > 1:
        raise UsageError(f"{run.path} has networks of {' and '.join(streams)}: say --stream")
    stream = asked or streams[0]
    if stream not in streams:
        raise UsageError(f"{run.path} has a network of {' and '.join(streams)}, none of {stream}")
    between = recipe.network.cma or stream in recipe.network.non_local
    if recipe.network.pyramid or between:
        kind = "pyramid attention" if recipe.network.pyramid else "attention blocks"
        raise UsageError(
            f"{run.path} was trained with {kind} in its {stream} branch, whose features are not of "
            "single frames or clips: take a run of plain branches"
        )
    return recipe, stream


def choose_phase(run: Run, stream: Stream, split: int | None) -> Phase:
    """Return the phase in which the branch was trained alone.

    Raises:
        UsageError: The split does not exist, or a split is needed.
    """
    splits = run.recipe.splits
    if (split is None) == bool(splits) or (splits and split not in splits):
        known = f"--split of {', '.join(map(str, splits))}" if splits else "no --split"
        raise UsageError(f"{run.path}: expected {known}, got {split}")
    return next(phase for phase in list_split_phases(run.recipe, split) if phase.branch == stream)


# --- weight files --------------------------------------------------------------------------------


def find_in_file(wanted: Wanted) -> FeatureNetwork:
    """Load a backbone from a weight file; its first convolution tells which stream it takes."""
    if wanted.backbone not in NETWORKS:
        raise UsageError(
            f"{wanted.model} is no run of flowkit train, so a weight file: expected --backbone of "
            f"{', '.join(NETWORKS)}, got {wanted.backbone or 'none'}"
        )
    if wanted.split is not None:
        raise UsageError("--split is for runs of several; the weight file is of one")
    path, settings = find_weight_file(wanted.model), NETWORKS[wanted.backbone]
    family = FAMILIES[settings.backbone]
    try:
        weights = read_weights(path)
        branch: Stream = (
            "flow" if wanted.stream == "flow" or not has_prefix(weights, "rgb.") else "rgb"
        )
        own, left = select_trunk_weights(weights, branch)
        if left:
            raise WeightsError(f"it has {', '.join(left)}, which is no part of a backbone")
        channels = next((t.shape[1] for t in own.values() if t.ndim >= 4), 0)
        stream = choose_source(wanted, channels, family.dims)
        options = OPTIONS.get(settings.backbone)
        backbone: Backbone = family(
            in_channels=channels, num_classes=0, **(options(settings) if options else {})
        )
        last = (f"{backbone.last}.",)
        load_weights(backbone, convert_weights(backbone, own), skip=last)
    except WeightsError as error:
        raise UsageError(f"{path}: {error}; or give another --backbone") from error
    convention: InputConvention = getattr(family, f"{stream}_input")
    fields = channels // 2 if stream == "flow" and family.dims == 2 else 1
    length = convention.frames if family.dims == 3 else fields
    place = (convention.size, length, 1)
    return look(wanted, backbone.eval(), path, wanted.backbone, stream, place, None)


def choose_source(wanted: Wanted, channels: int, dims: int) -> Source:
    """Determine the stream of a network from its input channels.

    Args:
        wanted: The user's request.
        channels: Input channels: 3 for RGB, 1 for audio, pairs for flow.
        dims: 2 for images, 3 for clips.

    Returns:
        The stream.

    Raises:
        WeightsError: The channels fit no stream, or another one than `wanted` names.
    """
    is_flow = channels == 2 if dims == 3 else channels >= 2 and channels % 2 == 0
    known = {3: "rgb", 1: "audio" if dims == 2 else ""}.get(channels, "flow" if is_flow else "")
    if not known or (known == "audio" and wanted.backbone != "vgg16"):
        raise WeightsError(
            f"its first convolution takes {channels} channels, and {wanted.backbone} looks at RGB "
            "(3) or flow (2 × fields; clips 2), vgg16 at audio too (1)"
        )
    if wanted.stream not in (None, known):
        raise WeightsError(f"it looks at {known} ({channels} channels), and --stream says "
                           f"{wanted.stream}")  # fmt: skip
    return cast(Source, known)


# --- both ----------------------------------------------------------------------------------------


def look(
    wanted: Wanted,
    backbone: Backbone,
    path: Path,
    name: str,
    stream: Source,
    place: tuple[int, int, int],
    short_side: int | None,
) -> FeatureNetwork:
    """Build the feature network, using the backbone's own sampling where none was asked for.

    Args:
        wanted: The user's request.
        backbone: The backbone in eval mode.
        path: File of the weights.
        name: Name of the network in the recipe.
        stream: The stream that it takes.
        place: Default size in pixels, clip length and clip stride.
        short_side: Shorter side of its training frames, or None if unknown.

    Returns:
        The network with its feature recipe.

    Raises:
        UsageError: An option does not apply to this network.
    """
    is_3d, is_audio = backbone.dims == 3, stream == "audio"
    size, length, stride = place
    if is_audio and (wanted.crops or wanted.size):
        raise UsageError("audio patches are taken whole: no --crops and no --size")
    if not is_3d and (wanted.clip_length or wanted.clip_stride):
        raise UsageError(f"--clip-length and --clip-stride are for networks of clips, not {name}")
    if wanted.crops and wanted.crops not in CROPS:
        raise UsageError(f"expected crops {', '.join(CROPS)}, got {wanted.crops!r}")
    positions = 0 if is_audio else CLIPS if is_3d else POSITIONS
    recipe = FeatureRecipe(
        source=stream,
        model=name,
        weights=digest_features(backbone),
        dimension=backbone.num_features,
        positions=positions if wanted.positions is None else wanted.positions,
        clip_length=wanted.clip_length or length,
        clip_stride=wanted.clip_stride or stride,
        crops=WHOLE if is_audio else wanted.crops or ("three" if is_3d else "centre"),
        size=0 if is_audio else wanted.size or size,
    )
    convention: InputConvention = getattr(backbone, f"{stream}_input")
    return FeatureNetwork(
        backbone=backbone, path=path, recipe=recipe, convention=convention, short_side=short_side
    )


def digest_features(backbone: Backbone) -> str:
    """Digest the weights that determine the features: all but the last layer."""
    last = f"{backbone.last}."
    state = backbone.state_dict()
    return digest_weights({n: t for n, t in state.items() if not n.startswith(last)})


def check_sizes(network: FeatureNetwork) -> None:
    """Check on the meta device that the network accepts inputs of the recipe's size.

    Raises:
        UsageError: It does not.
    """
    recipe, twin = network.recipe, copy.deepcopy(network.backbone).to("meta")
    image = (96, 64) if recipe.source == "audio" else (recipe.size, recipe.size)
    channels = {"rgb": 3, "flow": 2, "audio": 1}[recipe.source]
    length = recipe.clip_length
    shape = (channels, length, *image) if network.is_3d else (channels * length, *image)
    try:
        with torch.no_grad():
            twin.embed(torch.empty(1, *shape, device="meta"))
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"{recipe.model} cannot take {length} images of {image[0]}×{image[1]} pixels at a "
            f"time: {' '.join(str(error).split())[:200]}; change --size or --clip-length"
        ) from error
