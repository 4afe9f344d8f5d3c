# ruff: noqa: N803, N806
"""A network of sets of local features: one part for each modality, and one classifier.

Long et al., "Attention Clusters", CVPR 2018, §3.5 and Fig. 2: what the parts make of their sets is
concatenated and goes through one fully connected layer, before which dropout of 0.9 stands (§5.4).
A part is `AttentionCluster`, `CascadeAttention`, or one of `FUSIONS`.

"For videos without audio, we feed in the average of audio features over the training set" (§5.2):
an empty set becomes the set of that one vector, in training and in testing.

    B batch   L vectors of the longest set   M their dimension
"""

from collections.abc import Mapping

import torch
from torch import nn


class SetNetwork(nn.Module):
    """Scores of classes from the sets of one or more modalities.

    Parameters
    ----------
    parts: module by modality, which makes (B, ``out_features``) of (B, L, M) and lengths (B,).
    dimensions: M by modality.
    classes: of the scores.
    dropout: before the last layer.

    Its buffers ``mean.<modality>`` are NaN until `set_means`. Raises ValueError where parts and
    dimensions are of different modalities.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        dimensions: Mapping[str, int],
        classes: int,
        dropout: float = 0.9,
    ) -> None:
        super().__init__()
        if not parts or set(parts) != set(dimensions):
            raise ValueError(
                f"expected a part for each modality with a dimension; got parts for "
                f"{', '.join(parts) or 'none'} and dimensions of {', '.join(dimensions) or 'none'}"
            )
        self.parts, self.mean = nn.ModuleDict(parts), nn.Module()
        for modality in parts:
            self.mean.register_buffer(modality, torch.full((dimensions[modality],), torch.nan))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(sum(part.out_features for part in parts.values()), classes)

    def set_means(self, means: Mapping[str, torch.Tensor]) -> None:
        """Take (M,) for some or all modalities: what stands for an empty set.

        Raises ValueError for an unknown modality, another dimension, and numbers not finite.
        """
        for modality, mean in means.items():
            own = self._find_mean(modality)
            if mean.shape != own.shape or not mean.isfinite().all():
                raise ValueError(
                    f"expected a mean of {modality} of {len(own)} finite numbers, got "
                    f"{tuple(mean.shape)}, {int(mean.isfinite().sum())} of them finite"
                )
            own.copy_(mean)

    def forward(
        self,
        sets: Mapping[str, torch.Tensor],
        lengths: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Sets (B, L, M) by modality → scores (B, classes).

        Any floating type; computed in that of the parameters. ``lengths``: (B,) by modality, 0
        for an empty set; a modality without lengths has full sets. Raises ValueError for a
        modality that is missing, and for an empty set where no mean was given.
        """
        lacking = [modality for modality in self.parts if modality not in sets]
        if lacking:
            raise ValueError(
                f"expected sets of {', '.join(self.parts)}; {', '.join(lacking)} is missing"
            )
        outputs = []
        for modality, part in self.parts.items():
            x_BLM = sets[modality].to(self.classifier.weight.dtype)
            lengths_B = None if lengths is None else lengths.get(modality)
            if lengths_B is not None:
                x_BLM, lengths_B = self._fill(modality, x_BLM, lengths_B)
            outputs.append(part(x_BLM, lengths_B))
        # A copy of one part alone would only cost.
        joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        scores: torch.Tensor = self.classifier(self.dropout(joined))
        return scores

    def _fill(
        self, modality: str, x_BLM: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sets, with the mean as the one vector of those that were empty."""
        empty_B = lengths_B == 0
        if not empty_B.any():
            return x_BLM, lengths_B
        mean_M = self._find_mean(modality)
        if mean_M.isnan().any():
            raise ValueError(
                f"{int(empty_B.sum())} sets of {modality} are empty, and no mean stands for them; "
                "give the training set's mean by set_means, or sets with 1 vector or more"
            )
        if not x_BLM.shape[1]:
            x_BLM = x_BLM.new_zeros(len(x_BLM), 1, x_BLM.shape[2])
        first_BL = torch.arange(x_BLM.shape[1], device=x_BLM.device) == 0
        place_BL = empty_B.to(x_BLM.device)[:, None] & first_BL
        return torch.where(place_BL[:, :, None], mean_M, x_BLM), lengths_B.clamp(min=1)

    def _find_mean(self, modality: str) -> torch.Tensor:
        if modality not in self.parts:
            raise ValueError(f"expected one of {', '.join(self.parts)}, got {modality!r}")
        mean: torch.Tensor = getattr(self.mean, modality)
        return mean
