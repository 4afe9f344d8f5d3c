"""The CNN of Flash-MNIST."""

import pytest
import torch
from torch.nn import functional

from models.networks.digits import DigitNetwork


def make_network():
    torch.manual_seed(0)
    return DigitNetwork().eval()


def test_network_equals_the_description_of_the_paper():
    """Two convolutions with ReLU and 2×2 max-pooling, then 50 units, in the paper's order."""
    network, images = make_network(), torch.rand(3, 28, 28)
    x = ((images - 0.1307) / 0.3081)[:, None]
    for layer in (network.conv1, network.conv2):
        x = functional.conv2d(x, layer.weight, layer.bias).relu()
        x = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
    x = (x.flatten(1) @ network.fc.weight.T + network.fc.bias).relu()
    torch.testing.assert_close(network.features(images), x, rtol=1e-5, atol=1e-5)
    scores = x @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(network(images), scores, rtol=1e-5, atol=1e-5)
    assert network(images).shape == (3, 11)
    assert sum(p.numel() for p in network.parameters()) == 260 + 5020 + 16050 + 561


def test_bytes_are_scaled_by_255():
    network = make_network()
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    assert torch.equal(network(images), network(images / 255))
    assert torch.equal(network(images), network(images[:, None]))


def test_features_before_and_after_the_log_softmax():
    network, images = make_network(), torch.rand(3, 28, 28)
    features = network.features(images)
    assert features.shape == (3, 50) and (features >= 0).all() and features.any()
    logs = network.features(images, log_softmax=True)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(3))
    torch.testing.assert_close(logs, features - features.exp().sum(1, keepdim=True).log())


def test_dropout_is_active_only_in_training():
    network, images = make_network(), torch.rand(3, 28, 28)
    assert torch.equal(network(images), network(images))
    network.train()
    assert not torch.equal(network(images), network(images))


@pytest.mark.parametrize("shape", [(3, 28, 27), (3, 3, 28, 28), (28, 28)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected images \(B, 28, 28\), got"):
        make_network()(torch.rand(shape))


def test_training_reduces_the_loss():
    """The images are bars at different heights. All layers get gradients and the loss falls."""
    torch.manual_seed(0)
    network = DigitNetwork()
    images, labels = torch.zeros(22, 28, 28), torch.arange(11).repeat(2)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 2 : 2 * label + 5] = 1
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.any() for p in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
