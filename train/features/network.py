"""Build the networks that compute features, and describe how they sample videos.

A feature is the output of a backbone's `embed`: the pooled features before dropout and the last
layer. The last layer is therefore not used, and the digest of the weights does not include it.
network_loading.py loads the networks.

A position is a moment of a video at which features are computed, from one frame, snippet, clip or
patch. A view is one crop at a position.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from flowkit.datasets.transforms import CentreCrop, CropStrategy
from flowkit.datasets.views import PositionSampling, count_views
from flowkit.errors import UsageError
from flowkit.recipe import FeatureRecipe
from flowkit.streams import STREAMS, StreamName
from models.backbones.backbone import Backbone, InputConvention
from models.weights.pretrained import digest_weights
from train.tasks.samples import TEST_CROPS

UNCROPPED = "whole"
"""Name of the crops in recipes of audio features: a patch is used as a whole."""
DEFAULT_FRAMES, DEFAULT_CLIPS = 25, 10
"""Positions of a video by default: frames, as in Attention Clusters on Kinetics; clips for a 3-D
network, as in CATNet, which uses three crops of each."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The network and sampling that the user asked for; None where an option was not given."""

    model: str
    """A run folder, or a weight file together with `backbone`."""
    backbone: str | None = None
    """Name of the backbone of a weight file."""
    stream: StreamName | None = None
    """The stream whose network is used, in a run that has several."""
    split: int | None = None
    """The split whose network is used, in a run that has several."""
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
    window_stride: int | None = None
    """Frames from the start of one window to the start of the next, instead of `positions`. A
    window is then a clip of `clip_length`, or one frame for a 2-D network."""


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
    """Channel order, mean and scale of the input."""
    short_side: int | None = None
    """Shorter side in pixels of the frames that it was trained on, or None if unknown."""

    @property
    def is_3d(self) -> bool:
        """Return whether the network processes clips."""
        return self.backbone.dims == 3

    @property
    def sampling(self) -> PositionSampling:
        """Return how positions in a video are sampled."""
        recipe = self.recipe
        return PositionSampling(
            source=cast(StreamName, recipe.source),
            positions=recipe.positions,
            length=recipe.clip_length,
            stride=recipe.clip_stride,
            window=recipe.window,
            window_stride=recipe.window_stride,
        )

    @property
    def crops(self) -> CropStrategy:
        """Return the crops of an image; audio has one view without cropping."""
        if not STREAMS[self.recipe.source].is_image:
            return CentreCrop(1)
        return TEST_CROPS[self.recipe.crops](self.recipe.size)

    @property
    def views(self) -> int:
        """Return the number of views per position."""
        return count_views(self.crops)


def build_feature_network(
    options: NetworkOptions,
    backbone: Backbone,
    path: Path,
    name: str,
    stream: StreamName,
    defaults: tuple[int, int, int],
    short_side: int | None,
) -> FeatureNetwork:
    """Build the feature network. Where the options name no sampling, the defaults are used.

    Args:
        options: The options of the user.
        backbone: The backbone in eval mode.
        path: File of the weights.
        name: Name of the network in the recipe.
        stream: The stream that it reads.
        defaults: Size in pixels, clip length and clip stride where the options name none.
        short_side: Shorter side of its training frames, or None if unknown.

    Returns:
        The network with its feature recipe.

    Raises:
        UsageError: An option does not apply to this network.
    """
    is_3d, is_image = backbone.dims == 3, STREAMS[stream].is_image
    size, length, stride = defaults
    if not is_image and (options.crops or options.size):
        raise UsageError(
            f"{stream} {STREAMS[stream].unit} are not cropped: leave out --crops and --size"
        )
    if not is_3d and (options.clip_length or options.clip_stride):
        raise UsageError(f"--clip-length and --clip-stride are for 3-D networks, not {name}")
    if options.crops and options.crops not in TEST_CROPS:
        raise UsageError(f"expected crops {', '.join(TEST_CROPS)}, got {options.crops!r}")
    check_windows(options, stream, is_image)
    # 0 means all positions.
    positions = (DEFAULT_CLIPS if is_3d else DEFAULT_FRAMES) if is_image else 0
    if options.window_stride is not None:
        positions = 0
    clip_length = options.clip_length or length
    recipe = FeatureRecipe(
        source=stream,
        model=name,
        weights=digest_used_weights(backbone),
        dimension=backbone.num_features,
        positions=positions if options.positions is None else options.positions,
        clip_length=clip_length,
        clip_stride=options.clip_stride or stride,
        crops=(options.crops or ("three" if is_3d else "centre")) if is_image else UNCROPPED,
        size=(options.size or size) if is_image else 0,
        window=(clip_length if is_3d else 1) if options.window_stride else 0,
        window_stride=options.window_stride or 0,
    )
    convention: InputConvention = getattr(backbone, f"{stream}_input")
    return FeatureNetwork(
        backbone=backbone, path=path, recipe=recipe, convention=convention, short_side=short_side
    )


def check_windows(options: NetworkOptions, stream: StreamName, is_image: bool) -> None:
    """Check that the options about windows fit each other and the stream.

    Raises:
        UsageError: They do not.
    """
    if options.window_stride is None:
        return
    if options.window_stride < 1:
        raise UsageError(
            f"--stride {options.window_stride}: the number of frames from one window to the next "
            "must be at least 1"
        )
    if options.positions is not None:
        raise UsageError(
            "give either --positions, which are evenly spaced, or --window and --stride"
        )
    if not is_image:
        raise UsageError(
            f"--window and --stride are for frames, not for {stream} {STREAMS[stream].unit}: leave "
            "them out"
        )


def digest_used_weights(backbone: Backbone) -> str:
    """Digest the weights that determine the features: all but the last layer."""
    last = f"{backbone.last_layer_name}."
    state = backbone.state_dict()
    return digest_weights({n: t for n, t in state.items() if not n.startswith(last)})


def check_sizes(network: FeatureNetwork) -> None:
    """Check on the meta device that the network accepts inputs of the recipe's size.

    Raises:
        UsageError: It does not.
    """
    recipe, meta_backbone = network.recipe, copy.deepcopy(network.backbone).to("meta")
    stream, length = STREAMS[recipe.source], recipe.clip_length
    image = stream.shape or (recipe.size, recipe.size)
    channels = stream.channels
    shape = (channels, length, *image) if network.is_3d else (channels * length, *image)
    try:
        with torch.no_grad():
            meta_backbone.embed(torch.empty(1, *shape, device="meta"))
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"{recipe.model} cannot process {length} images of {image[0]}×{image[1]} pixels at a "
            f"time: {' '.join(str(error).split())[:200]}{advise_sizes(network)}"
        ) from error


def advise_sizes(network: FeatureNetwork) -> str:
    """Name the options that change the size of a network's input, for messages."""
    options = ["--size"] if STREAMS[network.recipe.source].is_image else []
    if network.is_3d:
        options.append("--clip-length (--window of `flowkit features --out`)")
    return f"; change {' or '.join(options)}" if options else ""
