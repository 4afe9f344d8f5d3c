"""One score of many snippets.

Wang et al., "Temporal Segment Networks", ECCV 2016, §3.1; Chi et al. 2019, eq. 6: the mean over
the K segments of a video, before the softmax of the loss.

    B K  batch, segments (or views)
"""

import torch


def average_segments(scores: torch.Tensor, segments: int) -> torch.Tensor:
    """Scores of all segments of a batch, (B·K, classes), → of its videos, (B, classes)."""
    if len(scores) % segments:
        raise ValueError(f"expected a multiple of {segments} scores, got {len(scores)}")
    return scores.unflatten(0, (-1, segments)).mean(dim=1)
