"""Fixtures for all tests of networks."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Use one thread, with which small networks are fastest."""
    torch.set_num_threads(1)


@pytest.fixture
def randomize():
    """Return a function that draws random biases and BN statistics, so that errors show."""

    def change(network):
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                torch.nn.init.normal_(tensor, std=0.1)
            elif name.endswith("running_var"):
                torch.nn.init.uniform_(tensor, 0.5, 2)
        return network.eval()

    return change
