"""Image models of the library timm as backbones, by timm's names.

timm (PyTorch Image Models, https://github.com/huggingface/pytorch-image-models) has more than a
thousand networks for images: ConvNeXt, EfficientNet, Swin, ViT, DINOv2, CLIP, … It is imported when
a model is built, so that nothing else here needs it.

The features are those that timm's own classifier sees: ``forward_features``, then ``forward_head``
with ``pre_logits=True``. They are the same as the output of timm's model with ``num_classes=0``.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones.backbone import Backbone, InputConvention, Step

PREFIX = "timm/"
"""What the names of timm's models begin with here, as those of its public weights do."""
EXTRA = "pip install 'flowkit-video[learned]'"
"""Command that installs timm."""


def import_timm() -> Any:
    """Import timm.

    Returns:
        The module ``timm``.

    Raises:
        ImportError: timm is not installed, or cannot be imported. The message says what to do.
    """
    if find_spec("timm") is None:
        raise ImportError(f"timm is not installed: {EXTRA}", name="timm")
    try:
        return import_module("timm")
    except Exception as error:  # a broken installation raises almost anything
        reason = " ".join(str(error).split())[:200]
        raise ImportError(f"timm cannot be imported ({reason}): {EXTRA}", name="timm") from error


def check_name(name: str) -> None:
    """Check that timm has a model of this name.

    Args:
        name: timm's name, without `PREFIX`: an architecture, such as ``resnet18``, or one with the
            tag of its weights, such as ``resnet18.a1_in1k``.

    Raises:
        ValueError: It has none. The message lists the nearest names.
        ImportError: timm cannot be imported.
    """
    timm = import_timm()
    architecture, dot, _ = name.partition(".")
    if not timm.is_model(architecture):
        problem = f"no model {PREFIX}{name}"
        matches = get_close_matches(architecture, timm.list_models(), n=3)
    elif dot and name not in (known := timm.list_models(architecture, include_tags=True)):
        problem = f"{PREFIX}{architecture}, but no weights {PREFIX}{name}"
        matches = get_close_matches(name, known, n=3, cutoff=0)
    else:
        return
    hint = f"did you mean {' or '.join(PREFIX + match for match in matches)}? " if matches else ""
    raise ValueError(
        f"timm {timm.__version__} has {problem}; {hint}"
        f"timm.list_models('*', include_tags=True) lists all names"
    )


class TimmModel(Backbone):
    """An image model of timm without its classifier, with random weights.

    Its only step, ``features``, is timm's ``forward_features``. It has no taps, so no attention can
    be inserted.

    Attributes:
        model: timm's model, whose parameters have timm's names.
        rgb_input: Mean, standard deviation and size of images, from timm's ``pretrained_cfg``.

    Example:
        >>> network = TimmModel("vit_tiny_patch16_224")
        >>> network.embed(torch.randn(2, 3, 224, 224)).shape
        torch.Size([2, 192])
    """

    model: Any

    def __init__(self, name: str) -> None:
        """Build the model. The caller's random numbers are not affected.

        Args:
            name: timm's name, without `PREFIX`; the tag of weights decides only the input.

        Raises:
            ValueError: timm has no model of this name, or the model has no classifier, or does not
                take square RGB images.
            ImportError: timm cannot be imported.
        """
        super().__init__()
        check_name(name)
        with torch.random.fork_rng(devices=[]):
            self.model = import_timm().create_model(name, pretrained=False, num_classes=0)
        head = getattr(self.model, "forward_head", None)
        if head is None or "pre_logits" not in signature(head).parameters:
            raise ValueError(
                f"{PREFIX}{name} computes no features before a classifier, since it has no "
                "classifier: use another model of timm"
            )
        config = self.model.pretrained_cfg
        channels, height, width = config["input_size"]
        if channels != 3 or height != width:
            raise ValueError(
                f"{PREFIX}{name} expects images of {channels} channels and {height}×{width} "
                "pixels; only models of square RGB images (3 channels) can be used"
            )
        self.rgb_input = InputConvention(  # type: ignore[misc]  # each model has its own
            mean=tuple(config["mean"]), std=tuple(config["std"]), size=height
        )
        self.num_features = int(self.model.head_hidden_size)
        self.taps: dict[str, int] = {}
        self.dropout = nn.Dropout(0.0)  # every backbone has one
        self.fc = None  # the last layer of a `Backbone`: none

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List the only step.

        Returns:
            The name ``features`` and timm's function from images to features.
        """
        yield "features", self.compute_features

    def compute_features(self, x: Tensor) -> Tensor:
        """Compute timm's ``forward_features``.

        Args:
            x: Normalized images (B, 3, H, W).

        Returns:
            Features; their shape depends on the model.

        Raises:
            ValueError: The model cannot process images of this size; many transformers are made
                for one size.
        """
        try:
            features: Tensor = self.model.forward_features(x)
        except AssertionError as error:  # by which timm checks sizes
            raise ValueError(str(error)) from error
        return features

    def pool_features(self, x: Tensor) -> Tensor:
        """Turn the features into one vector for each image, as timm's classifier sees it.

        Args:
            x: Features, of the shape that the model's ``forward_features`` returns.

        Returns:
            Features (B, num_features).

        Raises:
            ValueError: The model computes something other than one vector for each image.
        """
        features = self.model.forward_head(x, pre_logits=True)
        if not torch.is_tensor(features) or features.shape[1:] != (self.num_features,):
            shape = tuple(features.shape) if torch.is_tensor(features) else type(features).__name__
            raise ValueError(
                f"expected one vector of {self.num_features} values for each image from "
                f"{type(self.model).__name__}, got {shape}: use another model of timm"
            )
        return features
