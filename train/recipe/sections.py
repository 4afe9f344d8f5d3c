"""The sections of a training's recipe, as frozen dataclasses. Every default is the CMA paper's.

Chi, Tian, Mu, Tian, "Two-Stream Video Classification with Cross-Modality Attention", 2019,
§4.2–4.4; of `Sets`, that of Attention Clusters (Long et al., CVPR 2018, §5.4).

The CMA paper prints the weight decay as "5⁻⁴": TSN's 5e-4 is meant. It does not say how long a
plateau is: `patience` does.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError

STRICT = ConfigDict(extra="forbid")

Stream = Literal["rgb", "flow", "audio"]
Branch = Literal["rgb", "flow", "audio", "sets"]
"""What a phase trains, and the name of its score."""
Dropout = Annotated[float, Field(ge=0, lt=1)]
Optimizer = Literal["sgd", "rmsprop", "adam"]
Method = Literal[
    "clusters", "catnet", "average", "flatten", "ts_lstm", "temporal_inception", "bilstm"
]
Family = Literal["resnet", "vgg16", "bn_inception", "inception_resnet_v2", "i3d", "p3d"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Subsets:
    """Subsets of the store's index; ``{split}`` stands for the number of a split.

    ``validate`` is what the learning rate's plateau looks at, and the curves show.
    """

    train: str = "train"
    validate: str = "val"
    test: str = "val"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Clip:
    """Clips for 3-D networks: ``length`` frames or flow fields, ``stride`` apart."""

    length: int = Field(ge=1)
    stride: int = Field(default=1, ge=1)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data:
    """Samples for training: K segments, a snippet of each, one crop for all of a sample.

    ``clip``: for 3-D networks, one clip instead; `num_segments` and `flow_length` say nothing
    then. ``window``: train on a random stretch of so many seconds of each video, with the labels
    of that. ``jitter``: the range of the short side of `jittered` crops, pixels.
    ``short_side``: of the stored frames, pixels; a store of another size is refused. ``size`` of
    the network's input; ``scales`` of the multi-scale crop, empty for TSN's own (RGB's where only
    RGB is read). ``mirror`` must be off where left and right are classes.
    """

    num_segments: int = Field(default=3, ge=1)
    flow_length: int = Field(default=5, ge=1)
    crops: Literal["multi-scale", "jittered", "random"] = "multi-scale"
    scales: tuple[float, ...] = ()
    short_side: int = Field(default=256, ge=8)
    size: int = Field(default=224, ge=8)
    mirror: bool = True
    jitter: tuple[int, int] = (256, 320)
    clip: Clip | None = None
    window: float | None = Field(default=None, gt=0)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Pyramid:
    """Pyramid attention inside each branch, which makes one map of a video's K frames.

    ``taps``: names of the backbone's, from the finest to the top one. ``interactive`` and
    ``attention``: β and γ of the paper's equation 9. ``moves_features``: let the gradient of
    l_interactive reach the features; ``energy``: count their energy in it as a ``sum``, as
    printed, or as a ``share`` of theirs (models/attention/pyramid.py).
    """

    taps: tuple[str, ...]
    fusion: Literal["multiplication", "sum", "maximum"] = "multiplication"
    interactive: float = Field(default=1e-4, ge=0)
    attention: float = Field(default=1e-4, ge=0)
    moves_features: bool = False
    energy: Literal["sum", "share"] = "sum"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Network:
    """The branches, and what stands between them or inside them.

    ``backbone``: its family; ``depth`` is of ResNets, ``width`` of those that can be thin (of
    the stem, 64 is the paper's), ``stem`` of I3D (the frames that it is made for), ``blocks`` of
    P3D. ``dropout``: before the last layer, one number or one a branch.
    ``cma``: cross-modality blocks in every phase, not only from iter_1 on (for transfer).
    ``non_local``: branches with non-local blocks. ``positions``: after which steps blocks stand;
    empty for the CMA paper's. ``rgb_from``: what the RGB branch begins iter_1 with.
    ``weights``: what the branches start from, ``rgb``, ``flow``, ``both`` or ``audio``: a file, or
    the name of a weight file of torchvision's such as ``resnet50``. Without it: He initialization.
    A flow branch without weights of its own takes RGB's by cross-modality initialization, and audio
    takes a file of RGB's in the same way.
    """

    backbone: Family = "resnet"
    depth: Literal[18, 34, 50, 101, 152] = 50
    width: int = Field(default=64, ge=2)
    stem: Literal[32, 8] = 32
    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    dropout: Dropout | dict[Stream, Dropout] = 0.7
    cma: bool = False
    non_local: tuple[Stream, ...] = ()
    positions: tuple[str, ...] = ()
    rgb_from: Literal["initial", "rgb"] = "initial"
    pyramid: Pyramid | None = None
    weights: dict[Literal["rgb", "flow", "both", "audio"], str] = Field(default_factory=dict)

    def check_dropout(self, streams: Sequence[str], where: str) -> None:
        """Check that there is one dropout for all streams, or one for each of them.

        Args:
            streams: The recipe's streams.
            where: Name of the recipe, with which the message starts.

        Raises:
            UsageError: There is not.
        """
        if isinstance(self.dropout, dict) and set(self.dropout) != set(streams):
            raise UsageError(
                f"{where}: network.dropout: expected a number, or one for each of "
                f"{', '.join(streams)}; got {self.dropout}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Training:
    """How one phase is trained.

    ``epochs`` over all videos, or ``iterations`` (steps of the optimizer) where that is not 0.
    ``batch``: videos of a step, over all processes. ``optimizer``: SGD with ``momentum``; RMSProp
    (squares decay by 0.99, ε is 1e-8, not centred) with ``momentum``; Adam (β 0.9 and 0.999,
    ε 1e-8; ``momentum`` says nothing). ``schedule``: ``plateau`` divides the rate
    by 10 when validation accuracy has not risen for ``patience`` epochs, ``steps`` after each of
    the epochs ``steps``, ``iterations`` after each of so many steps of the optimizer. ``clip``:
    the largest norm of the gradient, or None. ``balance``: the loss of a video counts 1/S, S being
    the training videos of its class (`train.loop.losses.weigh_classes`). ``groups``: ``tsn`` gives
    biases, BN and the flow stem rates of their own. ``only_last`` trains the last layer alone,
    ``only`` these parts of the backbone (such as ``layer4``, ``fc``) and what attention adds.
    """

    epochs: int = Field(default=30, ge=1)
    iterations: int = Field(default=0, ge=0)
    batch: int = Field(default=128, ge=1)
    optimizer: Optimizer = "sgd"
    rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Literal["plateau", "steps", "iterations", "constant"] = "plateau"
    patience: int = Field(default=3, ge=0)
    steps: tuple[int, ...] = ()
    clip: float | None = None
    balance: bool = False
    groups: Literal["plain", "tsn"] = "plain"
    partial_bn: bool = False
    only_last: bool = False
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Testing:
    """How videos are scored: ``segments`` × crops, scores of all views averaged.

    ``over``: average logits or probabilities. ``views``: their mean, or the maximum of each class.
    ``fusion``: weights of RGB and flow by name
    (``iter_0``, ``odd`` and ``even`` iterations). ``controls``: scores that show what the
    network lives on.
    """

    segments: int = Field(default=25, ge=1)
    crops: Literal["ten", "three", "centre"] = "ten"
    over: Literal["logits", "softmax"] = "logits"
    views: Literal["mean", "max"] = "mean"
    fusion: dict[Literal["iter_0", "odd", "even"], tuple[float, float]] = Field(
        default_factory=dict
    )
    controls: tuple[Literal["other-class-flow", "uniform"], ...] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sets:
    """Sets of local features, in place of images: what of the store they are, and what fuses them.

    ``streams``: modality → the name of a feature stream of the store; ``dimensions`` of them.
    ``sample``: how many features of a set, drawn anew each epoch, are trained on; ``test``: how
    many, evenly spaced, are tested on; both 0 for all. Numbers stand for all modalities alike, or
    for each by its name. ``made_with``: modality → the digest of the weights that made its
    features; a stream of other weights is refused. ``may_be_empty``: modalities that a video may
    lack; then the training set's mean feature stands for its set.

    ``method``: what makes one vector of a modality's set. Of `clusters`: ``units`` (N),
    ``weighting``, ``shifting``, ``hidden`` (of fc2); of `catnet`: ``heads``, ``normalize`` (the
    second layer and the L2 norm), ``global_attention``, ``aggregation``, ``shared`` and ``takes``
    (models/attention/catnet.py). ``dropout``: before the linear layer over all modalities.
    ``weights``: what the network starts from, but for that layer: a file, or the folder of a
    finished phase.
    """

    streams: dict[str, str]
    dimensions: int | dict[str, int]
    sample: int | dict[str, int] = 0
    test: int | dict[str, int] = 0
    made_with: dict[str, str] = Field(default_factory=dict)
    may_be_empty: tuple[str, ...] = ()
    method: Method = "clusters"
    units: int | dict[str, int] = 32
    weighting: Literal["fc1", "fc2", "average"] = "fc1"
    shifting: bool = True
    hidden: int = Field(default=10, ge=1)
    heads: int = Field(default=32, ge=1)
    normalize: bool = True
    global_attention: bool = True
    aggregation: Literal["concatenation", "summation"] = "concatenation"
    shared: bool = True
    takes: Literal["normalized", "transformed"] = "normalized"
    dropout: Dropout = 0.9
    weights: str = ""

    def of(self, name: str) -> dict[str, int]:
        """A number by modality, such as ``units`` or ``dimensions``."""
        value: int | dict[str, int] = getattr(self, name)
        return dict.fromkeys(self.streams, value) if isinstance(value, int) else value
