"""The sections of training recipes, as frozen dataclasses. Every default is the CMA paper's.

Chi, Tian, Mu, Tian, "Two-Stream Video Classification with Cross-Modality Attention", 2019,
§4.2–4.4. The defaults of `Sets` are those of Attention Clusters (Long et al., CVPR 2018, §5.4).

The CMA paper prints the weight decay as "5⁻⁴": TSN's 5e-4 is meant. It does not say how long a
plateau is: `Training.patience` does.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from flowkit.streams import StreamName

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""No unknown key is accepted, and the text below a field becomes its description."""

Stream = StreamName
Branch = StreamName | Literal["sets"]
"""What a phase trains, and the name of its score."""
Dropout = Annotated[float, Field(ge=0, lt=1)]
Optimizer = Literal["sgd", "rmsprop", "adam"]
Method = Literal[
    "clusters", "catnet", "average", "flatten", "ts_lstm", "temporal_inception", "bilstm"
]
Family = Literal["resnet", "vgg16", "bn_inception", "inception_resnet_v2", "i3d", "p3d"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Subsets:
    """Subsets of the store's index, by use. ``{split}`` stands for the number of a split."""

    train: str = "train"
    """Is trained on."""

    validate: str = "val"
    """Is scored after each epoch, which decides when the learning rate is on a plateau."""

    test: str = "val"
    """Is scored by `flowkit evaluate`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Clip:
    """Clips for 3-D networks."""

    length: int = Field(ge=1)
    """Frames, or flow fields, of a clip."""

    stride: int = Field(default=1, ge=1)
    """Frames from one of them to the next."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data:
    """Training samples: a snippet of each of K segments, with one crop for the whole sample."""

    num_segments: int = Field(default=3, ge=1)
    """Segments of a video (K), of each of which one snippet is read."""

    flow_length: int = Field(default=5, ge=1)
    """Flow fields of a snippet."""

    crops: Literal["multi-scale", "jittered", "random"] = "multi-scale"
    """How crops are chosen in training."""

    scales: tuple[float, ...] = ()
    """Scales of the multi-scale crop. Default: TSN's, those of RGB if only RGB is read."""

    short_side: int = Field(default=256, ge=8)
    """Shorter side of the stored frames, pixels. A store of another size is refused."""

    size: int = Field(default=224, ge=8)
    """Side of the network's input, pixels."""

    mirror: bool = True
    """Mirror half of the samples. Must be off if left and right are different classes."""

    jitter: tuple[int, int] = (256, 320)
    """Range of the shorter side of jittered crops, pixels."""

    clip: Clip | None = None
    """For 3-D networks: one clip, in place of ``num_segments`` snippets of ``flow_length``."""

    window: float | None = Field(default=None, gt=0)
    """Train on a random stretch of this many seconds of each video, with the labels of it."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Pyramid:
    """Pyramid attention inside each branch, which makes one map of a video's K frames."""

    taps: tuple[str, ...]
    """Names of the backbone's taps, from the finest to the top one."""

    fusion: Literal["multiplication", "sum", "maximum"] = "multiplication"
    """How the attention maps of the levels are combined."""

    interactive: float = Field(default=1e-4, ge=0)
    """β of the paper's equation 9, the weight of l_interactive."""

    attention: float = Field(default=1e-4, ge=0)
    """γ of the paper's equation 9, the weight of l_attn."""

    moves_features: bool = False
    """Let the gradient of l_interactive reach the features."""

    energy: Literal["sum", "share"] = "sum"
    """Count the energy of features in l_interactive as a sum, as printed, or as a share of theirs
    (models/attention/pyramid.py)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Network:
    """The branches, and the attention between them or inside them."""

    backbone: Family = "resnet"
    """Family of the backbone."""

    depth: Literal[18, 34, 50, 101, 152] = 50
    """Layers of a ResNet."""

    width: int = Field(default=64, ge=2)
    """Channels of the first convolution, of backbones that can be thin; 64 is the papers'."""

    stem: Literal[32, 8] = 32
    """Frames that an I3D is made for."""

    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    """Blocks of each stage of a P3D."""

    dropout: Dropout | dict[Stream, Dropout] = 0.7
    """Dropout before the last layer: one number, or one for each branch."""

    cma: bool = False
    """Have cross-modality blocks in every phase, not only from iter_1 on (for transfer)."""

    non_local: tuple[Stream, ...] = ()
    """Branches with non-local blocks."""

    positions: tuple[str, ...] = ()
    """Steps of the backbone that blocks come after. Default: those of the CMA paper."""

    rgb_from: Literal["initial", "rgb"] = "initial"
    """What the RGB branch starts iter_1 from: its initial weights, or the phase rgb."""

    pyramid: Pyramid | None = None
    """Pyramid attention inside each branch. Default: none."""

    weights: dict[StreamName | Literal["both"], str] = Field(default_factory=dict)
    """Weights that the branches start from: a file, or the name of one of torchvision's weight
    files, such as ``resnet50``. Default: He initialization. A flow branch without weights of its
    own takes those of RGB by cross-modality initialization; audio takes a file of RGB likewise."""

    def check_dropout(self, streams: Sequence[str]) -> None:
        """Check that there is one dropout for all streams, or one for each of them.

        Args:
            streams: The recipe's streams.

        Raises:
            UsageError: There is not.
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
    """Passes over all training videos."""

    iterations: int = Field(default=0, ge=0)
    """Steps of the optimizer, in place of ``epochs``; 0 for none."""

    batch: int = Field(default=128, ge=1)
    """Videos of one step, over all processes."""

    optimizer: Optimizer = "sgd"
    """SGD with momentum; RMSProp (squares decay by 0.99, ε 1e-8, not centred) with momentum; or
    Adam (β 0.9 and 0.999, ε 1e-8), which ignores ``momentum``."""

    rate: float = Field(default=0.01, gt=0)
    """Learning rate."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of the optimizer."""

    weight_decay: float = Field(default=5e-4, ge=0)
    """Weight of the L2 penalty on the weights."""

    schedule: Literal["plateau", "steps", "iterations", "constant"] = "plateau"
    """When the rate is divided by 10: after more than ``patience`` epochs without a better
    validation accuracy; after each epoch in ``steps``; after each optimizer step in ``steps``;
    or never."""

    patience: int = Field(default=3, ge=0)
    """Epochs without a better validation accuracy that a plateau has, for ``schedule: plateau``."""

    steps: tuple[int, ...] = ()
    """When the rate falls: epochs for ``schedule: steps``, optimizer steps for ``iterations``."""

    clip: float | None = None
    """Largest norm of the gradient. Default: no limit."""

    balance: bool = False
    """Weigh the loss of a video by 1/S, where S is the number of training videos of its class
    (`train.loop.losses.weigh_classes`)."""

    groups: Literal["plain", "tsn"] = "plain"
    """"tsn" gives biases, batch norm and the first flow layer learning rates of their own."""

    partial_bn: bool = False
    """Freeze all batch norm but the first, as TSN does."""

    only_last: bool = False
    """Train the last layer alone."""

    only: tuple[str, ...] = ()
    """Train these parts of the backbone (such as ``layer4``, ``fc``), and the attention."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Testing:
    """How videos are scored: the scores of all views, segments × crops, are combined."""

    segments: int = Field(default=25, ge=1)
    """Segments of a video, of each of which the middle is scored."""

    crops: Literal["ten", "three", "centre"] = "ten"
    """Crops of each segment."""

    over: Literal["logits", "softmax"] = "logits"
    """Combine logits or probabilities."""

    views: Literal["mean", "max"] = "mean"
    """Take the mean over views, or the maximum of each class."""

    fusion: dict[Literal["iter_0", "odd", "even"], tuple[float, float]] = Field(
        default_factory=dict
    )
    """Weights of RGB and flow in their fusion. Default: the CMA paper's."""

    controls: tuple[Literal["other-class-flow", "uniform"], ...] = ()
    """Additional scores that show what the network depends on."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sets:
    """Sets of local features: which streams of the store they are, and how they are fused.

    A number that can be given for each modality holds for all of them if it is given alone.
    """

    streams: dict[str, str]
    """Name of the store's feature stream, by modality."""

    dimensions: int | dict[str, int]
    """Dimension of the features."""

    sample: int | dict[str, int] = 0
    """Features of a set in training, drawn anew in each epoch; 0 for all."""

    test: int | dict[str, int] = 0
    """Features of a set in testing, evenly spaced; 0 for all."""

    made_with: dict[str, str] = Field(default_factory=dict)
    """Digest of the weights that made the features, by modality. Others are refused."""

    may_be_empty: tuple[str, ...] = ()
    """Modalities that a video may lack. The mean feature of the training set stands for them."""

    method: Method = "clusters"
    """What makes one vector of a modality's set."""

    units: int | dict[str, int] = 32
    """Attention units (N), of clusters."""

    weighting: Literal["fc1", "fc2", "average"] = "fc1"
    """Layers that compute the attention weights, of clusters."""

    shifting: bool = True
    """Use the shifting operation, of clusters."""

    hidden: int = Field(default=10, ge=1)
    """Hidden units of the weighting fc2, of clusters."""

    heads: int = Field(default=32, ge=1)
    """Attention heads, of catnet."""

    normalize: bool = True
    """Have the second layer and the L2 norm, of catnet."""

    global_attention: bool = True
    """Have the global attention (equations 5 and 6), of catnet."""

    aggregation: Literal["concatenation", "summation"] = "concatenation"
    """How heads are combined, of catnet."""

    shared: bool = True
    """Use one linear layer of equation 4 for all heads, of catnet."""

    takes: Literal["normalized", "transformed"] = "normalized"
    """Which vectors of equation 4 go into equations 5 to 8, of catnet."""

    dropout: Dropout = 0.9
    """Dropout before the linear layer over all modalities."""

    weights: str = ""
    """Weights that the network starts from, except that layer: a file, or the folder of a
    finished phase."""

    def get_by_modality(self, name: str) -> dict[str, int]:
        """Return a number for each modality, such as ``units`` or ``dimensions``."""
        value: int | dict[str, int] = getattr(self, name)
        return dict.fromkeys(self.streams, value) if isinstance(value, int) else value
