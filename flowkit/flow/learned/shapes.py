"""Compare the names and shapes of weights with those that a network has."""

from collections.abc import Mapping

from flowkit.flow.learned.method import Weights

Shapes = Mapping[str, tuple[int, ...]]


def list_shapes(weights: Weights) -> Shapes:
    """Return the shapes of tensors by name."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def describe_mismatch(weights: Weights, expected: Shapes, limit: int = 2) -> str:
    """Describe how weights differ from those that a network has.

    Args:
        weights: Tensors by name.
        expected: Shapes of the network's tensors by name.
        limit: Largest number of differences that are described; the others are counted.

    Returns:
        The differences in one line; empty if there are none.
    """
    lines = [
        f"{name} has shape {tuple(weights[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    # A counter of batch normalization may be missing: no output depends on it.
    missing = (n for n in expected if n not in weights and not n.endswith("num_batches_tracked"))
    lines += [f"{name} is missing" for name in missing]
    lines += [f"{name} is unknown" for name in weights if name not in expected]
    more = f" (and {len(lines) - limit} more)" if len(lines) > limit else ""
    return "; ".join(lines[:limit]) + more
