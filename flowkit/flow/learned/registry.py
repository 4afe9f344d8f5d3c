"""List the learned methods of optical flow by name."""

from difflib import get_close_matches

from flowkit.errors import FlowError, UsageError
from flowkit.flow.learned.method import LearnedMethod
from flowkit.flow.learned.raft import RAFT_LARGE, RAFT_SMALL

METHODS: dict[str, LearnedMethod] = {"raft_large": RAFT_LARGE, "raft_small": RAFT_SMALL}
"""The learned methods by name."""


def find_method(name: str) -> LearnedMethod:
    """Return a learned method.

    Args:
        name: A key of `METHODS`.

    Raises:
        UsageError: No method has that name.
    """
    if name not in METHODS:
        matches = get_close_matches(name, ("tvl1", *METHODS), n=1)
        hint = f"did you mean {matches[0]!r}? " if matches else ""
        raise UsageError(
            f"unknown method of optical flow {name!r}; {hint}there are tvl1, {', '.join(METHODS)}"
        )
    return METHODS[name]


def find_usable_method(name: str) -> LearnedMethod:
    """Return a learned method that can run on this machine.

    Args:
        name: A key of `METHODS`.

    Raises:
        UsageError: No method has that name.
        FlowError: The method cannot run here.
    """
    method = find_method(name)
    obstacle = method.find_obstacle()
    if obstacle is not None:
        raise FlowError(f"flow method {name} cannot run here: {obstacle}")
    return method
