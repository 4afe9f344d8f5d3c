"""The sections of training recipes, as frozen dataclasses.

The text below each field is shown to users by ``flowkit recipes NAME --explain``.

The defaults are those of the CMA (cross-modality attention) paper: Chi, Tian, Mu, Tian, "Two-Stream
Video Classification with Cross-Modality Attention", 2019, §4.2–4.4. Pyramid attention is
that of Du et al. 2018.

The CMA paper prints the weight decay as "5⁻⁴": TSN's 5e-4 is meant. It does not say how long a
plateau is; `Training.patience` is our choice.

A branch is the network of one stream (``rgb``, ``flow`` or ``audio``) and has its name. The network
of a feature-set recipe is the branch ``sets``.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from flowkit.streams import StreamName

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""Reject unknown keys, and use the text below a field as its description."""

Branch = StreamName | Literal["sets"]
"""Name of the network that a phase trains, and of its score."""
Dropout = Annotated[float, Field(ge=0, lt=1)]
Optimizer = Literal["sgd", "rmsprop", "adam"]
ImageFamily = Literal["resnet", "vgg16", "bn_inception", "inception_resnet_v2"]
ClipFamily = Literal["i3d", "i3d_inception", "p3d"]
Family = Literal[ImageFamily, ClipFamily]
CLIP_FAMILIES: tuple[Family, ...] = get_args(ClipFamily)
"""The backbones that process clips. A test compares them with the classes of the backbones, which
this module does not import, since they need PyTorch."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Subsets:
    """Names of subsets of the store. ``{split}`` stands for the number of a split."""

    train: str = "train"
    """Subset for training."""

    validate: str = "val"
    """Subset that is scored after each epoch. With schedule: plateau, the result decides when the
    learning rate falls."""

    test: str = "val"
    """Subset that `flowkit evaluate` scores."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Clip:
    """Clips: the input of 3-D networks."""

    length: int = Field(ge=1)
    """Frames, or flow fields, in a clip."""

    stride: int = Field(default=1, ge=1)
    """Distance in frames between two frames of a clip; 1 for consecutive frames."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data:
    """Training samples: a snippet from each of K segments, all with the same crop."""

    num_segments: int = Field(default=3, ge=1)
    """Number of equal segments (K) that a video is divided into; one snippet is read from each."""

    flow_length: int = Field(default=5, ge=1)
    """Consecutive flow fields in a snippet, stacked as the input of the flow branch."""

    crops: Literal["multi-scale", "jittered", "random"] = "multi-scale"
    """How crops are chosen in training. multi-scale: TSN's, with random height, width and
    position. jittered: the frame is resized to a random side in ``jitter`` first. random: a
    random position."""

    scales: tuple[float, ...] = ()
    """Crop sizes of multi-scale crops, as fractions of the shorter side. Default: TSN's, which are
    fewer if flow is read."""

    short_side: int = Field(default=256, ge=8)
    """Shorter side in pixels that the frames of the store must have."""

    size: int = Field(default=224, ge=8)
    """Side of the network's square input in pixels."""

    mirror: bool = True
    """Mirror half of the training samples. Must be off if left and right are different classes."""

    jitter: tuple[int, int] = (256, 320)
    """For jittered crops: least and greatest shorter side of the resized frame in pixels."""

    clip: Clip | None = None
    """For 3-D networks: read one clip, instead of ``num_segments`` snippets. Has the keys length
    and stride."""

    window: float | None = Field(default=None, gt=0)
    """Train on a random window of this many seconds of each video, with the labels inside the
    window. Default: train on whole videos."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Pyramid:
    """Pyramid attention inside each branch, which combines K frames into one feature map."""

    taps: tuple[str, ...]
    """Names of the layers of the backbone whose outputs are the levels of the pyramid, from the
    finest to the coarsest."""

    fusion: Literal["multiplication", "sum", "maximum"] = "multiplication"
    """How the attention maps of the levels are combined."""

    interactive: float = Field(default=1e-4, ge=0)
    """Weight of the loss l_interactive (β in equation 9 of Du et al. 2018)."""

    attention: float = Field(default=1e-4, ge=0)
    """Weight of the loss l_attn (γ in equation 9 of Du et al. 2018)."""

    moves_features: bool = False
    """Let the gradient of l_interactive change the features too, not only the attention."""

    energy: Literal["sum", "share"] = "sum"
    """How l_interactive measures the energy of the attended features: as a sum (Du et al. 2018),
    or as a share of the energy of all features (models/attention/pyramid.py)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Network:
    """The backbones of the branches, and the attention between the branches or inside them."""

    backbone: Family = "resnet"
    """Backbone: the convolutional network of each branch. i3d is I3D on ResNet-50, and
    i3d_inception is I3D on Inception-v1, for which there are public weights for RGB and flow."""

    depth: Literal[18, 34, 50, 101, 152] = 50
    """Number of layers of a resnet."""

    width: int = Field(default=64, ge=2)
    """Channels of the first convolution; fewer make a thinner, faster network. 64 in all papers.
    Has no effect on inception_resnet_v2."""

    stem: Literal[32, 8] = 32
    """Length of the clips in frames that the first layers of i3d are built for."""

    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    """Number of residual blocks in each of the four stages of p3d."""

    dropout: Dropout | dict[StreamName, Dropout] = 0.7
    """Dropout probability before the last layer: one number, or one for each branch."""

    cma: bool = False
    """Use cross-modality attention (CMA) blocks in every phase, for transfer from a network that
    has them. Otherwise the phases iter_1, iter_2, … have them, and rgb and flow do not."""

    non_local: tuple[StreamName, ...] = ()
    """Branches that have non-local attention blocks."""

    positions: tuple[str, ...] = ()
    """Layers of the backbone after which CMA and non-local blocks are inserted. Default: those of
    the CMA paper."""

    rgb_from: Literal["initial", "rgb"] = "initial"
    """Weights that the RGB branch has at the start of iter_1: its initial ones, or those of the
    phase rgb."""

    pyramid: Pyramid | None = None
    """Pyramid attention inside each branch; null for none."""

    weights: dict[StreamName | Literal["both"], str] = Field(default_factory=dict)
    """Initial weights by branch, or of both branches (key both): a weight file, the folder of a
    finished phase, or the beginning of the name of one of torchvision's files, such as
    ``resnet50``. Default: random weights (He initialization). A flow branch without an entry starts
    from the weights of RGB, averaged over R, G and B in the first layer (cross-modality
    initialization); audio can start from a file of RGB in the same way."""

    def check_dropout(self, streams: Sequence[str]) -> None:
        """Check that dropout is one number, or one for each stream's branch.

        Args:
            streams: The recipe's streams.

        Raises:
            UsageError: A stream has no dropout, or a dropout has no stream.
        """
        if isinstance(self.dropout, dict) and set(self.dropout) != set(streams):
            raise UsageError(
                f"network.dropout: expected a number, or one for each of "
                f"{', '.join(streams)}; got {self.dropout}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Training:
    """How one phase is trained."""

    epochs: int = Field(default=30, ge=1)
    """Number of passes over all training videos."""

    iterations: int = Field(default=0, ge=0)
    """Number of optimizer steps, instead of ``epochs``; 0 to use epochs."""

    batch: int = Field(default=128, ge=1)
    """Videos in one optimizer step, summed over all processes."""

    optimizer: Optimizer = "sgd"
    """SGD with momentum; RMSProp (α 0.99, ε 1e-8, not centred) with momentum; or
    Adam (β 0.9 and 0.999, ε 1e-8), which ignores ``momentum``."""

    rate: float = Field(default=0.01, gt=0)
    """Learning rate at the start."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of the optimizer, 0 to 1."""

    weight_decay: float = Field(default=5e-4, ge=0)
    """Weight decay: the factor of the L2 penalty on the weights."""

    schedule: Literal["plateau", "steps", "iterations", "constant"] = "plateau"
    """When the learning rate is divided by 10. plateau: after more than ``patience`` epochs without
    a better validation accuracy. steps: after each epoch listed in ``steps``. iterations: after
    each optimizer step listed in ``steps``. constant: never."""

    patience: int = Field(default=3, ge=0)
    """For schedule: plateau: epochs without a better validation accuracy before the rate falls."""

    steps: tuple[int, ...] = ()
    """When the rate falls: numbers of epochs for schedule: steps, or of optimizer steps for
    schedule: iterations."""

    clip: float | None = None
    """Greatest norm of the gradient, to which larger ones are clipped; null for no limit."""

    balance: bool = False
    """Weight the loss of a video by 1/S, where S is the number of training videos of its class."""

    groups: Literal["plain", "tsn"] = "plain"
    """Parameter groups of the optimizer. plain: all parameters have the same rate. tsn: biases,
    batch norm and the first layer of flow or audio have learning rates of their own, as in TSN."""

    partial_bn: bool = False
    """Freeze all batch-norm layers except the first, as TSN does."""

    only_last: bool = False
    """Train only the last layer of the branch."""

    only: tuple[str, ...] = ()
    """Names of the parts of the backbone to train, such as ``layer4`` and ``fc``, besides the
    attention blocks. Empty: train all parts."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Testing:
    """How videos are scored: the scores of all views (segments × crops) are combined."""

    segments: int = Field(default=25, ge=1)
    """Number of equal segments of a video; the middle of each is scored."""

    crops: Literal["ten", "three", "centre"] = "ten"
    """Crops of each segment: ten (corners and centre, also mirrored), three (along the longer side)
    or centre."""

    over: Literal["logits", "softmax"] = "logits"
    """What is combined: logits, or probabilities (softmax)."""

    views: Literal["mean", "max"] = "mean"
    """How views are combined: by the mean, or by the maximum of each class."""

    fusion: dict[Literal["iter_0", "odd", "even"], tuple[float, float]] = Field(
        default_factory=dict
    )
    """Weights [RGB, flow] in the fused score: iter_0 for the branches alone, odd for iter_1,
    iter_3, …, even for iter_2, iter_4, … Default: the CMA paper's, 1:1, 5:1 and 1:5; with
    network.cma, iter_0 has the weights of odd."""

    controls: tuple[Literal["other-class-flow", "uniform"], ...] = ()
    """Control experiments, scored as well: other-class-flow (each video with the flow of a video of
    another class) and uniform (a phase trained with equal attention weights)."""
