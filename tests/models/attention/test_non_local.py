"""Non-local blocks are cross-modality blocks of x and x."""

import pytest
import torch

from models.attention.cross_modality import CrossModalityBlock
from models.attention.non_local import NonLocalBlock


def make_blocks(channels=6, dims=2):
    """Make both kinds of block in eval mode with equal weights; neither is the identity."""
    cross, inner = CrossModalityBlock(channels, dims), NonLocalBlock(channels, dims)
    for parameter in cross.parameters():
        torch.nn.init.normal_(parameter)
    inner.load_state_dict(cross.state_dict())
    return cross.eval(), inner.eval()


@pytest.mark.parametrize("shape", [(2, 6, 5, 4), (1, 6, 1, 7), (2, 6, 3, 5, 4)])
def test_block_is_bitwise_cma_of_x_with_itself(shape):
    cross, inner = make_blocks(dims=len(shape) - 2)
    x, y = torch.randn(2, *shape)
    assert not torch.equal(inner(x), x)
    assert torch.equal(inner(x), cross(x, x))
    assert torch.equal(inner(x, y), cross(x, x))


@pytest.mark.parametrize("training", [False, True])
def test_new_block_is_bitwise_the_identity(training):
    x = torch.randn(2, 6, 5, 4)
    assert torch.equal(NonLocalBlock(6).train(training)(x), x)


def test_map_is_that_of_x_with_itself():
    cross, inner = make_blocks()
    x = torch.randn(2, 6, 5, 4)
    assert inner.attention(x, x).shape == (2, 20, 4)
    assert torch.equal(inner.attention(x, x), cross.attention(x, x))


@pytest.mark.parametrize("dims", [1, 4])
def test_invalid_arguments_are_refused(dims):
    with pytest.raises(ValueError, match=f"2 channels or more, got dims {dims} and 6"):
        NonLocalBlock(6, dims=dims)


def test_five_blocks_have_the_published_number_of_parameters():
    """I3D-ResNet-50 with 400 classes: 28,043,472, and 35,401,936 with five of them."""
    with torch.device("meta"):
        blocks = [NonLocalBlock(c, dims=3) for c in (512, 512, 1024, 1024, 1024)]
    count = sum(p.numel() for block in blocks for p in block.parameters())
    assert count == 35_401_936 - 28_043_472
