# ruff: noqa: N803, N806
"""The small CNN that reads the frames of Flash-MNIST.

Long et al., "Attention Clusters", CVPR 2018, §4.1: "2 successive convolutional layers with 5×5
kernels, 10/20 filters followed by relu activations and max-pooling with stride 2, and one fully
connected layer with 50 hidden units". Trained on digits in noise; its 50 are the local features.

From the authors' code, as the paper does not say: Dropout2d after the second convolution, dropout
after the 50, an 11th class for noise without a digit, and inputs normalized by MNIST's mean
0.1307 and deviation 0.3081.

The authors' features are the log-softmax of the 50. Here they are the 50 after their ReLU: with
these, attention clusters learn faster. The other is ``log_softmax=True``.

    B batch   H W  28 × 28 pixels
"""

import torch
from torch import nn
from torch.nn import functional

CLASSES = 11
FEATURES = 50
SIDE = 28
MEAN, DEVIATION = 0.1307, 0.3081


class DigitNetwork(nn.Module):
    """Scores of the ten digits and of noise."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc = nn.Linear(20 * 4 * 4, FEATURES)
        self.classifier = nn.Linear(FEATURES, CLASSES)
        self.dropout2d, self.dropout = nn.Dropout2d(dropout), nn.Dropout(dropout)

    def forward(self, images_BHW: torch.Tensor) -> torch.Tensor:
        """Images as in `features` → scores (B, 11)."""
        scores: torch.Tensor = self.classifier(self.dropout(self.features(images_BHW)))
        return scores

    def features(self, images_BHW: torch.Tensor, log_softmax: bool = False) -> torch.Tensor:
        """Images (B, 28, 28) or (B, 1, 28, 28), uint8 or floats in [0, 1] → (B, 50).

        Raises ValueError for another shape.
        """
        if images_BHW.ndim == 4 and images_BHW.shape[1] == 1:
            images_BHW = images_BHW[:, 0]
        if images_BHW.shape[1:] != (SIDE, SIDE):
            raise ValueError(f"expected images (B, 28, 28), got {tuple(images_BHW.shape)}")
        x = images_BHW.to(self.fc.weight.dtype)
        if not images_BHW.is_floating_point():
            x = x / 255
        x = ((x - MEAN) / DEVIATION)[:, None]
        # ReLU after the maximum is the same, of a quarter as many numbers.
        x = functional.max_pool2d(self.conv1(x), 2).relu()
        x = functional.max_pool2d(self.dropout2d(self.conv2(x)), 2).relu()
        x = self.fc(x.flatten(1)).relu()
        return functional.log_softmax(x, dim=1) if log_softmax else x
