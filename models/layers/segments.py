"""Average the logits of a video's segments.

Wang et al., "Temporal Segment Networks", ECCV 2016, §3.1; Chi et al. 2019, eq. 6: the score of a
video is the mean of those of its K segments, before the softmax of the loss (logits).
"""

from torch import Tensor


def average_segments(logits: Tensor, segments: int) -> Tensor:
    """Average the logits over the segments (or views) of each video.

    Args:
        logits: Logits of all segments of a batch, (B·K, classes); the K segments of a video are
            consecutive.
        segments: K, 1 or more.

    Returns:
        Logits of the videos, (B, classes).

    Raises:
        ValueError: If the number of rows of ``logits`` is not a multiple of ``segments``.
    """
    if len(logits) % segments:
        raise ValueError(f"expected a multiple of {segments} rows of logits, got {len(logits)}")
    return logits.unflatten(0, (-1, segments)).mean(dim=1)
