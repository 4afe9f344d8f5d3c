import pytest
import torch

from models.segments import average_segments, fold_segments


def test_segments_fold_and_average_by_video():
    images = torch.arange(2 * 3 * 4.0).view(2, 3, 4, 1, 1)
    folded = fold_segments(images)
    assert folded.shape == (6, 4, 1, 1)
    scores = folded.flatten(1)
    torch.testing.assert_close(average_segments(scores, 3), images.flatten(2).mean(1))


def test_clips_fold_too():
    assert fold_segments(torch.zeros(2, 3, 4, 5, 6, 7)).shape == (6, 4, 5, 6, 7)


def test_scores_must_be_whole_videos():
    with pytest.raises(ValueError, match="a multiple of 3 scores, got 7"):
        average_segments(torch.zeros(7, 2), 3)
