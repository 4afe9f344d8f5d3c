"""RAFT, as torchvision has it, as a learned method of optical flow.

Teed, Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020. Features of
both frames at an eighth of their size are compared for all pairs of positions, and a recurrent unit
looks up these correlations 12 times to refine the flow field, which is then enlarged to the size of
the frames. ``raft_large`` has 5.3 million parameters and ``raft_small`` 1.0 million.

Frames become values in [-1, 1], as in torchvision's ``OpticalFlow`` transform. The correlations are
averaged to an eighth of their resolution, so the features must have at least 16 positions on each
side, and the frames at least 128 pixels.
"""

from functools import partial
from typing import Any

import numpy as np

from flowkit.flow.learned.method import F32, U8, LearnedMethod, Weights, WeightsMismatchError
from flowkit.flow.learned.shapes import describe_mismatch, list_shapes
from flowkit.flow.learned.torchvision_import import find_obstacle, import_raft

VARIANTS = ("raft_large", "raft_small")
"""Names of torchvision's functions that build the networks."""


def load(variant: str, weights: Weights, device: str) -> Any:
    """Build a RAFT network.

    Args:
        variant: One of `VARIANTS`.
        weights: Tensors by torchvision's names, on the CPU.
        device: ``cpu`` or ``cuda``.

    Returns:
        A ``torch.nn.Module`` in evaluation mode.

    Raises:
        WeightsMismatchError: The weights are not those of the variant.
    """
    network = build(variant)
    mismatch = describe_mismatch(weights, list_shapes(network.state_dict()))
    if mismatch:
        fitting = (
            name
            for name in VARIANTS
            if not describe_mismatch(weights, list_shapes(build(name).state_dict()))
        )
        other = next(fitting, None)
        advice = f"; they are the weights of {other}: use --method {other}" if other else ""
        raise WeightsMismatchError(f"{mismatch}{advice or '; use a weight file of torchvision'}")
    network.load_state_dict(weights, strict=False)  # counters of batch normalization may be missing
    return network.eval().requires_grad_(False).to(device)


def build(variant: str) -> Any:
    """Build a RAFT network with random weights; the caller's random numbers are not affected."""
    import torch

    with torch.random.fork_rng(devices=[]):
        return getattr(import_raft(), variant)(weights=None, progress=False)


def compute(network: Any, frames0: U8, frames1: U8) -> F32:
    """Compute flow; see `LearnedMethod`.

    Args:
        network: Network that `load` returned.
        frames0: RGB, uint8 (N, H, W, 3), with sides that are multiples of 8 and at least 128.
        frames1: Frames of the same shape.

    Returns:
        float32 (N, H, W, 2), displacement (x, y) in pixels.
    """
    import torch

    device = next(network.parameters()).device
    with torch.inference_mode():
        # Copied, since PyTorch takes no arrays that are reversed, and warns of read-only ones.
        copies = [np.array(frames, order="C") for frames in (frames0, frames1)]
        images = [normalize(torch.from_numpy(frames).to(device)) for frames in copies]
        flow = network(*images)[-1]  # one field for each of the 12 refinements
        return np.ascontiguousarray(flow.permute(0, 2, 3, 1).cpu().numpy())


def normalize(frames: Any) -> Any:
    """Convert uint8 RGB frames (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1]."""
    images = frames.permute(0, 3, 1, 2).contiguous().float()
    return images.div_(255).sub_(0.5).div_(0.5)


def estimate_bytes(pixel_bytes: int, height: int, width: int) -> int:
    """Estimate the memory of one pair of frames.

    Args:
        pixel_bytes: Bytes for each pixel of a frame: features, weights of the enlargement, and the
            12 fields.
        height: Height of the padded frames in pixels.
        width: Width of the padded frames in pixels.

    Returns:
        Bytes, including the correlations of all pairs of positions, which grow with the square of
        the number of pixels.
    """
    pixels = height * width
    correlations = 4 * (pixels // 64) ** 2
    # The full resolution exists twice while it is divided by √channels; the averaged ones add 1/3.
    return pixel_bytes * pixels + correlations * 7 // 3


def make_method(variant: str, weights_file: str, pixel_bytes: int) -> LearnedMethod:
    """Make the method of a variant.

    Args:
        variant: One of `VARIANTS`.
        weights_file: File name of torchvision's default weights.
        pixel_bytes: See `estimate_bytes`.

    Returns:
        The method, which `METHODS` of registry.py lists.
    """
    statement = f"from torchvision.models.optical_flow import {variant} as f; f(weights='DEFAULT')"
    return LearnedMethod(
        load=partial(load, variant),
        compute=compute,
        weights_file=weights_file,
        find_obstacle=find_obstacle,
        download_command=f'python -c "{statement}"',
        estimate_bytes=partial(estimate_bytes, pixel_bytes),
        multiple=8,
        min_side=128,
    )


RAFT_LARGE = make_method("raft_large", "raft_large_C_T_SKHT_V2-ff5fadd5.pth", 800)
RAFT_SMALL = make_method("raft_small", "raft_small_C_T_V2-01064c6d.pth", 400)
