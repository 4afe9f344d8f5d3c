"""Networks for video understanding: PyTorch modules that know neither flowkit nor train.

    backbones/   image and clip networks by name: `build_backbone`, `Backbone`
    attention/   cross-modality and non-local blocks, pyramid attention, Attention Clusters, CATNet
    networks/    two-stream networks, and networks for sets of local features
    weights/     weight files of this project and of other publishers; TSN's optimizer groups
    layers/      padding of sets, averaging of segments, partial BN

``import models`` does not import PyTorch: names load their modules on first use.

Example:
    >>> from models import TwoStream, build_backbone
    >>> rgb = build_backbone("resnet50", num_classes=101)
    >>> flow = build_backbone("resnet50", num_classes=101, in_channels=10)
    >>> network = TwoStream(rgb, flow)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.attention.catnet import CascadeAttention as CascadeAttention
    from models.attention.clusters import AttentionCluster as AttentionCluster
    from models.attention.cross_modality import CrossModalityBlock as CrossModalityBlock
    from models.attention.non_local import NonLocalBlock as NonLocalBlock
    from models.attention.pyramid import PyramidAttention as PyramidAttention
    from models.backbones.backbone import Backbone as Backbone
    from models.backbones.backbone import InputConvention as InputConvention
    from models.backbones.backbone import normalize as normalize
    from models.backbones.registry import BACKBONES as BACKBONES
    from models.backbones.registry import build_backbone as build_backbone
    from models.layers.batch_norm import freeze_batch_norms as freeze_batch_norms
    from models.layers.segments import average_segments as average_segments
    from models.networks.digits import DigitNetwork as DigitNetwork
    from models.networks.feature_sets import SetNetwork as SetNetwork
    from models.networks.fusions import TSLSTM as TSLSTM
    from models.networks.fusions import AverageFusion as AverageFusion
    from models.networks.fusions import BiLSTM as BiLSTM
    from models.networks.fusions import Flatten as Flatten
    from models.networks.fusions import TemporalInception as TemporalInception
    from models.networks.pyramid import PyramidNetwork as PyramidNetwork
    from models.networks.pyramid import PyramidTwoStream as PyramidTwoStream
    from models.networks.two_stream import TwoStream as TwoStream
    from models.weights.parameters import group_parameters as group_parameters
    from models.weights.pretrained import WeightsError as WeightsError
    from models.weights.pretrained import load_weights as load_weights
    from models.weights.pretrained import read_weights as read_weights
    from models.weights.weight_files import convert_weights as convert_weights

_MODULES = {
    "attention.catnet": ("CascadeAttention",),
    "attention.clusters": ("AttentionCluster",),
    "attention.cross_modality": ("CrossModalityBlock",),
    "attention.non_local": ("NonLocalBlock",),
    "attention.pyramid": ("PyramidAttention",),
    "backbones.backbone": ("Backbone", "InputConvention", "normalize"),
    "backbones.registry": ("BACKBONES", "build_backbone"),
    "layers.batch_norm": ("freeze_batch_norms",),
    "layers.segments": ("average_segments",),
    "networks.digits": ("DigitNetwork",),
    "networks.feature_sets": ("SetNetwork",),
    "networks.fusions": ("TSLSTM", "AverageFusion", "BiLSTM", "Flatten", "TemporalInception"),
    "networks.pyramid": ("PyramidNetwork", "PyramidTwoStream"),
    "networks.two_stream": ("TwoStream",),
    "weights.parameters": ("group_parameters",),
    "weights.pretrained": ("WeightsError", "load_weights", "read_weights"),
    "weights.weight_files": ("convert_weights",),
}
_LAZY = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_LAZY)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"models.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'models' has no attribute {name!r}")
