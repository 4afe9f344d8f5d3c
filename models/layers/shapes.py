"""Run networks on PyTorch's meta device for the shapes of their tensors alone."""

from typing import Any

from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode


class ShapesOnly(TorchFunctionMode):
    """A context in which batch normalization on the meta device returns its input.

    Its output has the same shape. PyTorch decomposes this operation in Python, which takes most of
    the time of a network without values.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run a function of PyTorch, or skip it."""
        if func is batch_norm and args[0].is_meta and len(args) > 1:
            x, mean = args[:2]
            if mean is not None and x.shape[1] == len(mean):
                return x
        return func(*args, **(kwargs or {}))
