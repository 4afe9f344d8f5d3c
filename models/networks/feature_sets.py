# ruff: noqa: N803, N806
"""A network for sets of local features: one fusion for each modality, and one classifier.

A local feature is a vector that another network computed from one frame, clip or second of sound of
a video. A modality is one kind of them, such as those of RGB frames, of flow, or of audio.

Long et al., "Attention Clusters", CVPR 2018, §3.5 and Fig. 2: the outputs of all modalities are
concatenated and classified by one fully connected layer, after a dropout of 0.9 (§5.4). A fusion is
the module that turns the sets of one modality into vectors: `AttentionCluster`, `CascadeAttention`,
or one of `FUSIONS` in `models.networks.fusions`.

"For videos without audio, we feed in the average of audio features over the training set" (§5.2):
in training and in testing, an empty set is replaced by a set that has only this average vector.

    B batch   L vectors of the longest set   M their dimension
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class SetNetwork(nn.Module):
    """Classify videos by the sets of local features of one or more modalities.

    The buffers ``mean.<modality>`` hold the vectors that replace empty sets. They are NaN until
    `set_means` is called.

    Example:
        >>> fusions = {"rgb": AttentionCluster(1536, 64), "audio": AttentionCluster(4096, 16)}
        >>> network = SetNetwork(fusions, {"rgb": 1536, "audio": 4096}, classes=400)
        >>> network({"rgb": torch.randn(2, 25, 1536), "audio": torch.randn(2, 10, 4096)}).shape
        torch.Size([2, 400])
    """

    def __init__(
        self,
        fusions: Mapping[str, nn.Module],
        dimensions: Mapping[str, int],
        classes: int,
        dropout: float = 0.9,
    ) -> None:
        """Build the network with a random classifier.

        Args:
            fusions: Fusions by modality: modules that turn sets (B, L, M) and lengths (B,) into
                vectors (B, ``out_features``).
            dimensions: M by modality.
            classes: Number of classes.
            dropout: Dropout probability before the classifier. Default: 0.9, the paper's.

        Raises:
            ValueError: If ``fusions`` is empty, or ``dimensions`` has other modalities.
        """
        super().__init__()
        if not fusions or set(fusions) != set(dimensions):
            names = (", ".join(modalities) or "none" for modalities in (fusions, dimensions))
            raise ValueError(
                "expected the same modalities in fusions and dimensions; got fusions for "
                f"{' and dimensions for '.join(names)}"
            )
        # The fusions; ``parts`` is their name in checkpoints.
        self.parts, self.mean = nn.ModuleDict(fusions), nn.Module()
        for modality in fusions:
            self.mean.register_buffer(modality, torch.full((dimensions[modality],), torch.nan))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(
            sum(fusion.out_features for fusion in fusions.values()), classes
        )

    def set_means(self, means: Mapping[str, Tensor]) -> None:
        """Set the vectors that replace empty sets.

        Args:
            means: Vectors (M,) for some or all modalities: the means over the training set.

        Raises:
            ValueError: If a modality is unknown, or a vector has another dimension or is not
                finite.
        """
        for modality, mean in means.items():
            buffer = self._get_mean(modality)
            if mean.shape != buffer.shape or not mean.isfinite().all():
                raise ValueError(
                    f"expected a mean of {modality} of {len(buffer)} finite numbers, got "
                    f"{tuple(mean.shape)}, {int(mean.isfinite().sum())} of them finite"
                )
            buffer.copy_(mean)

    def forward(
        self, sets: Mapping[str, Tensor], lengths: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Compute the logits of videos.

        Args:
            sets: Sets (B, L, M) by modality, of any floating-point type; they are converted to
                that of the parameters. Modalities that the network does not have are ignored.
            lengths: Number of vectors in each set, integers (B,) from 0 to L, by modality. A
                modality without lengths has L vectors in each set.

        Returns:
            Logits (B, classes), before the softmax.

        Raises:
            ValueError: If a modality is missing, if the sets or lengths have another shape or
                range, or if a set is empty and `set_means` was not called.
        """
        missing = [modality for modality in self.parts if modality not in sets]
        if missing:
            raise ValueError(
                f"expected sets of {', '.join(self.parts)}; {', '.join(missing)} is missing"
            )
        outputs = []
        for modality, fusion in self.parts.items():
            x_BLM = sets[modality].to(self.classifier.weight.dtype)
            lengths_B = None if lengths is None else lengths.get(modality)
            if lengths_B is not None:
                x_BLM, lengths_B = self._replace_empty_sets(modality, x_BLM, lengths_B)
            outputs.append(fusion(x_BLM, lengths_B))
        # With one modality, torch.cat would only make a copy.
        features = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits

    def _replace_empty_sets(
        self, modality: str, x_BLM: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Replace each empty set by the modality's mean; return the sets and their lengths."""
        is_empty_B, mean_M = lengths_B == 0, self._get_mean(modality)
        # The fusion refuses sets and lengths of other shapes; here they must not be broadcast.
        has_expected_shapes = x_BLM.ndim == 3 and (
            (*lengths_B.shape, *mean_M.shape) == (len(x_BLM), x_BLM.shape[2])
        )
        if not has_expected_shapes or not is_empty_B.any():
            return x_BLM, lengths_B
        if mean_M.isnan().any():
            raise ValueError(
                f"{int(is_empty_B.sum())} sets of {modality} are empty, and no mean is set to "
                "replace them; pass the training set's mean to set_means, or sets with 1 vector or "
                "more"
            )
        if not x_BLM.shape[1]:
            x_BLM = x_BLM.new_zeros(len(x_BLM), 1, x_BLM.shape[2])
        is_first_BL = torch.arange(x_BLM.shape[1], device=x_BLM.device) == 0
        is_replaced_BL = is_empty_B.to(x_BLM.device)[:, None] & is_first_BL
        return torch.where(is_replaced_BL[:, :, None], mean_M, x_BLM), lengths_B.masked_fill(
            is_empty_B, 1
        )

    def _get_mean(self, modality: str) -> Tensor:
        """Return the buffer (M,) of a modality's mean."""
        if modality not in self.parts:
            raise ValueError(f"expected one of {', '.join(self.parts)}, got {modality!r}")
        mean: Tensor = getattr(self.mean, modality)
        return mean
