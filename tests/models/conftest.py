"""What all tests of networks share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small networks are fastest on one thread, the more so beside other processes."""
    torch.set_num_threads(1)
