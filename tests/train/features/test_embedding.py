"""Errors of a GPU end in one line that says what to do."""

import pytest
import torch

from flowkit.errors import FlowkitError
from train.features.embedding import convert_gpu_errors


def test_a_full_gpu_names_each_option_that_helps():
    """All crops of an image are in one batch, so a batch of 4 has ten of ten crops."""
    with (
        pytest.raises(FlowkitError, match=r"batches of 4: .*--batch.*--crops centre or a .*--size"),
        convert_gpu_errors(4),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
