"""The mean over a video's segments."""

import pytest
import torch

from models.layers.segments import average_segments


def test_segments_fold_and_average_by_video():
    images = torch.arange(2 * 3 * 4.0).view(2, 3, 4, 1, 1)
    folded = images.flatten(0, 1)
    assert folded.shape == (6, 4, 1, 1)
    scores = folded.flatten(1)
    torch.testing.assert_close(average_segments(scores, 3), images.flatten(2).mean(1))


def test_videos_of_a_batch_do_not_mix():
    scores = torch.tensor([[1.0, 0], [3, 0], [0, 10], [0, 30]])
    assert average_segments(scores, 2).tolist() == [[2, 0], [0, 20]]
    assert torch.equal(average_segments(scores, 1), scores)
    assert average_segments(scores, 4).tolist() == [[1, 10]]


def test_a_network_scores_a_video_as_the_mean_of_its_segments():
    torch.manual_seed(0)
    network, images = torch.nn.Conv2d(3, 5, 4), torch.randn(2, 6, 3, 4, 4)
    scores = average_segments(network(images.flatten(0, 1)).flatten(1), 6)
    for video in range(2):
        torch.testing.assert_close(scores[video], network(images[video]).flatten(1).mean(0))


def test_scores_must_be_whole_videos():
    with pytest.raises(ValueError, match="a multiple of 3 rows of logits, got 7"):
        average_segments(torch.zeros(7, 2), 3)
