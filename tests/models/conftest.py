"""What all tests of networks share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small networks are fastest on one thread, the more so beside other processes."""
    torch.set_num_threads(1)


@pytest.fixture
def randomize():
    """Gives biases and BN's statistics values that a mistake in them would show in."""

    def change(network):
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                torch.nn.init.normal_(tensor, std=0.1)
            elif name.endswith("running_var"):
                torch.nn.init.uniform_(tensor, 0.5, 2)
        return network.eval()

    return change
