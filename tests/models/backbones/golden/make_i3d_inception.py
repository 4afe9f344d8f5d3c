"""Make i3d_inception.npz beside it: outputs of I3D on Inception-v1 by an implementation not ours.

It is the public conversion to PyTorch, github.com/piergiaj/pytorch-i3d, file pytorch_i3d.py
(commit 05783d1, Apache-2.0), run with PyTorch 2.13 and NumPy 2.4 on a CPU:

    python tests/models/backbones/golden/make_i3d_inception.py path/to/pytorch_i3d.py

The weights and the clips are drawn with NumPy by the name of each tensor, so that they do not
depend on PyTorch's random numbers, nor on the order of the layers.
"""

import runpy
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

# By name: shape of the clip (1, C, T, H, W). Together they have each parity of padding: 9 → 5 → 3,
# 193 → 97 → 49 → 25 → 13 → 7 and 204 → 102 → 51 → 26 → 13 → 7.
CLIPS = {"rgb": (1, 3, 10, 193, 204), "flow": (1, 2, 17, 196, 193)}


def draw_values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float32 values in [0, 1) that depend on the name and the shape alone."""
    return np.random.default_rng(zlib.crc32(name.encode())).random(shape, dtype=np.float32)


def draw_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw one tensor of the network, with which features keep their scale from layer to layer."""
    values = draw_values(name, shape)
    if name.endswith("running_var"):
        return 0.5 + values
    if name.endswith("bn.weight"):
        return 0.75 + values / 2
    if len(shape) == 1:  # biases and means
        return (values - 0.5) / 2
    return (values - 0.5) * np.float32(np.sqrt(24 / np.prod(shape[1:])))


def draw_weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Draw all tensors of a state dict except the counters of batch normalization."""
    return {
        name: torch.from_numpy(draw_weight(name, tuple(tensor.shape)))
        if tensor.is_floating_point()
        else tensor
        for name, tensor in state.items()
    }


def draw_clip(name: str) -> torch.Tensor:
    """Draw a clip with values in [−1, 1)."""
    return torch.from_numpy(2 * draw_values(f"clip {name}", CLIPS[name]) - 1)


def compute_outputs(public_file: str) -> dict[str, np.ndarray]:
    """Compute features (1024,) and logits (400,), each averaged over what remains of the clip."""
    build = runpy.run_path(public_file)["InceptionI3d"]
    outputs = {}
    for name, shape in CLIPS.items():
        network = build(400, in_channels=shape[1]).eval()
        network.load_state_dict(draw_weights(network.state_dict()))
        with torch.no_grad():
            clip = draw_clip(name)
            features = network.extract_features(clip)
            outputs[f"{name}_features"] = features.mean((2, 3, 4))[0].numpy()
            outputs[f"{name}_logits"] = network(clip).mean(2)[0].numpy()
    return outputs


if __name__ == "__main__":
    np.savez(Path(__file__).with_name("i3d_inception.npz"), **compute_outputs(sys.argv[1]))
