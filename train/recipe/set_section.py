"""The section of training recipes about sets of features, as a frozen dataclass.

The text below each field is shown to users by ``flowkit recipes NAME --explain``.

The defaults are those of Attention Clusters (Long et al., CVPR 2018, §5.4). The method catnet is
that of Wang, Peng, Qiao 2020.
"""

from typing import Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from train.recipe.sections import STRICT, Dropout

AttentionMethod = Literal["clusters", "catnet"]
Method = Literal[AttentionMethod, "average", "flatten", "ts_lstm", "temporal_inception", "bilstm"]
"""How the set of a modality is turned into one vector."""
ATTENTION_METHODS: tuple[Method, ...] = get_args(AttentionMethod)
"""The methods that have attention weights."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sets:
    """The sets of local features of a video, and how the network combines them.

    Where a number can be given for each modality, a single number holds for all of them.
    """

    streams: dict[str, str]
    """Names of the feature streams of the store (as in `flowkit features --name`), by modality. You
    choose the names of the modalities."""

    dimensions: int | dict[str, int]
    """Dimension of the features: one number, or one for each modality."""

    sample: int | dict[str, int] = 0
    """Number of random features per video in training, sampled anew in each epoch; 0 for all."""

    test: int | dict[str, int] = 0
    """Number of evenly spaced features per video in testing; 0 for all."""

    made_with: dict[str, str] = Field(default_factory=dict)
    """Digest of the weights that the features must have been computed with, by modality. Features
    of other weights are refused."""

    may_be_empty: tuple[str, ...] = ()
    """Modalities that a video may lack. The mean feature of the training set replaces them."""

    method: Method = "clusters"
    """How the set of a modality is turned into one vector."""

    units: int | dict[str, int] = 32
    """For method clusters: number of attention units (N)."""

    weighting: Literal["fc1", "fc2", "average"] = "fc1"
    """For method clusters: layers that compute the attention weights, one (fc1), two (fc2), or
    none, for equal weights (average)."""

    shifting: bool = True
    """For method clusters: use the shifting operation."""

    hidden: int = Field(default=10, ge=1)
    """For method clusters: hidden units of weighting fc2."""

    heads: int = Field(default=32, ge=1)
    """For method catnet: number of attention heads."""

    normalize: bool = True
    """For method catnet: use the second fully connected layer and the L2 normalization."""

    global_attention: bool = True
    """For method catnet: use the global attention (equations 5 and 6 of its paper)."""

    aggregation: Literal["concatenation", "summation"] = "concatenation"
    """For method catnet: how heads are combined."""

    shared: bool = True
    """For method catnet: share the linear layer of equation 4 between all heads."""

    takes: Literal["normalized", "transformed"] = "normalized"
    """For method catnet: which vectors of equation 4 are used in equations 5 to 8."""

    dropout: Dropout = 0.9
    """Dropout probability before the last layer, which classifies the vectors of all modalities."""

    weights: str = ""
    """Initial weights, except the last layer's: a weight file or a finished phase's folder."""

    def get_by_modality(self, name: str) -> dict[str, int]:
        """Return a number for each modality, such as ``units`` or ``dimensions``."""
        value: int | dict[str, int] = getattr(self, name)
        return dict.fromkeys(self.streams, value) if isinstance(value, int) else value
