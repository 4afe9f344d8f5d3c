# ruff: noqa: N803, N806
"""The small CNN that classifies the frames of Flash-MNIST and computes their local features.

Long et al., "Attention Clusters", CVPR 2018, §4.1: "2 successive convolutional layers with 5×5
kernels, 10/20 filters followed by relu activations and max-pooling with stride 2, and one fully
connected layer with 50 hidden units". It is trained on noisy digits. The 50 hidden units are the
local features.

From the authors' code, since the paper does not say: Dropout2d after the second convolution,
dropout after the 50 units, an 11th class for noise without a digit, and inputs normalized by
MNIST's mean 0.1307 and standard deviation 0.3081.

Deviation: the authors' features are the log-softmax of the 50 units. Here they are the 50 units
after their ReLU, with which attention clusters learn faster; ``log_softmax=True`` gives the
authors' features.

    B batch   H W  28 × 28 pixels
"""

from torch import Tensor, nn
from torch.nn import functional

NUM_CLASSES = 11
NUM_FEATURES = 50
IMAGE_SIZE = 28
MEAN, STD = 0.1307, 0.3081


class DigitNetwork(nn.Module):
    """A CNN for images of 28 × 28 pixels, with classes for the ten digits and for noise.

    Example:
        >>> network = DigitNetwork()
        >>> network(torch.rand(2, 28, 28)).shape
        torch.Size([2, 11])
    """

    def __init__(self, dropout: float = 0.5) -> None:
        """Build the network with random weights.

        Args:
            dropout: Probability of both dropout layers. Default: 0.5.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc = nn.Linear(20 * 4 * 4, NUM_FEATURES)
        self.classifier = nn.Linear(NUM_FEATURES, NUM_CLASSES)
        self.dropout2d, self.dropout = nn.Dropout2d(dropout), nn.Dropout(dropout)

    def forward(self, images_BHW: Tensor) -> Tensor:
        """Compute the logits of images.

        Args:
            images_BHW: Images as in `features`.

        Returns:
            Logits (B, 11), before the softmax: of the digits 0 to 9, and of noise.

        Raises:
            ValueError: If the images have another shape.
        """
        logits: Tensor = self.classifier(self.dropout(self.features(images_BHW)))
        return logits

    def features(self, images_BHW: Tensor, log_softmax: bool = False) -> Tensor:
        """Compute the local features of images.

        Args:
            images_BHW: Images (B, 28, 28) or (B, 1, 28, 28), uint8, or floats in [0, 1].
            log_softmax: Return the log-softmax of the features. Default: False.

        Returns:
            Features (B, 50), after their ReLU.

        Raises:
            ValueError: If the images have another shape.
        """
        if images_BHW.ndim == 4 and images_BHW.shape[1] == 1:
            images_BHW = images_BHW[:, 0]
        if images_BHW.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"expected images (B, 28, 28), got {tuple(images_BHW.shape)}")
        x = images_BHW.to(self.fc.weight.dtype)
        if not images_BHW.is_floating_point():
            x = x / 255
        x = ((x - MEAN) / STD)[:, None]
        # ReLU gives the same after the max-pool as before it, and has a quarter of the work there.
        x = functional.max_pool2d(self.conv1(x), 2).relu()
        x = functional.max_pool2d(self.dropout2d(self.conv2(x)), 2).relu()
        x = self.fc(x.flatten(1)).relu()
        return functional.log_softmax(x, dim=1) if log_softmax else x
