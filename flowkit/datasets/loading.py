"""Load a dataset with PyTorch's DataLoader: keys of samples, their order, and whole batches.

A sample depends on (seed, epoch, index) only. The key of a sample is (epoch, index), as
`EpochSampler` yields it, so that persistent loader workers need not be told when an epoch starts.
An index alone means epoch 0.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from flowkit.datasets.sampling import make_generator
from flowkit.errors import UsageError

Key = tuple[int, int]
"""Epoch and index of a sample."""


def split_key(key: int | Key) -> Key:
    """Return the epoch and the index of a key; an index alone means epoch 0."""
    return (0, int(key)) if isinstance(key, int | np.integer) else key


class EpochSampler(Sampler[Key]):
    """Divide the samples of each epoch among processes; it can resume within an epoch.

    Training shuffles by (seed, epoch) and gives each process the same number of samples, so the
    last ``size`` mod ``world`` samples of the order are left out of this epoch. Testing keeps the
    order and neither drops nor repeats samples, so the counts of two processes may differ by one.

    Call `set_epoch` before each epoch. To save the position within an epoch, set ``taken`` to the
    number of samples that this process has used (a DataLoader prefetches more than that) and call
    `state_dict`.

    Args:
        size: Number of samples of the dataset.
        training: Whether to shuffle.
        seed: Seed of the shuffling.
        rank: Rank of this process, 0 … ``world`` − 1.
        world: Number of processes.

    Raises:
        UsageError: If the rank is out of range.

    Example:
        >>> sampler = EpochSampler(len(dataset), training=True)
        >>> loader = DataLoader(dataset, 8, sampler=sampler)
        >>> for epoch in range(epochs):
        ...     sampler.set_epoch(epoch)
        ...     for batch in loader:
        ...         ...
    """

    def __init__(
        self, size: int, *, training: bool, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        """Start at epoch 0, with no sample used."""
        if not 0 <= rank < world:
            raise UsageError(f"expected a rank from 0 to {world - 1}, got {rank}")
        self.size, self.training, self.seed = size, training, seed
        self.rank, self.world = rank, world
        self.epoch, self.taken = 0, 0

    def __len__(self) -> int:
        """Return how many samples of this epoch this process has not used yet."""
        return max(0, len(self._list_indices()) - self.taken)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the remaining keys (epoch, index) of this process."""
        return ((self.epoch, int(index)) for index in self._list_indices()[self.taken :])

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch.

        Args:
            epoch: Epoch, counted from 0.
        """
        self.epoch, self.taken = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Return the position within the epoch, for a checkpoint."""
        return {"epoch": self.epoch, "taken": self.taken, "size": self.size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume at a saved position.

        Args:
            state: What `state_dict` returned.

        Raises:
            UsageError: If the dataset had a different size when the state was saved.
        """
        if state["size"] != self.size:
            raise UsageError(
                f"expected a dataset of {state['size']} videos, as in the checkpoint, got "
                f"{self.size}: the store or the subset has changed"
            )
        self.epoch, self.taken = state["epoch"], state["taken"]

    def _list_indices(self) -> npt.NDArray[np.int64]:
        """List the indices of this process in this epoch, in order."""
        order = np.arange(self.size)
        if self.training:
            order = make_generator(self.seed, self.epoch, (1 << 40) - 1).permutation(self.size)
            order = order[: self.size // self.world * self.world]
        return order[self.rank :: self.world]


class Batches(Dataset[dict[str, torch.Tensor]]):
    """A dataset whose items are batches of another dataset, made by its ``batch`` method.

    A key is a list of keys of the other dataset. The batches are the same as those of
    ``DataLoader(dataset, 8, sampler=sampler)`` (with ``as_bytes``), but need less work: loader
    workers write the images directly into memory that they share with the training process.

    Args:
        dataset: A dataset with a method ``batch``, such as `SnippetDataset`.

    Example:
        >>> batches = BatchSampler(EpochSampler(len(dataset), training=True), 8, False)
        >>> loader = DataLoader(Batches(dataset), sampler=batches, batch_size=None)
    """

    def __init__(self, dataset: Any) -> None:
        """Keep the other dataset."""
        self.dataset = dataset

    def __len__(self) -> int:
        """Return the number of samples of the other dataset, not of batches."""
        return len(self.dataset)

    def __getitem__(self, keys: list[Key]) -> dict[str, torch.Tensor]:
        """Read one batch."""
        batch: dict[str, torch.Tensor] = self.dataset.batch(keys)
        return batch


def make_tensor(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """Create an uninitialized tensor, in shared memory if this is a worker of a DataLoader.

    Args:
        shape: Shape of the tensor.
        dtype: Its type.

    Returns:
        The tensor, with arbitrary values.
    """
    size = math.prod(shape)
    if get_worker_info() is None or not size:
        return torch.empty(shape, dtype=dtype)
    # As in torch's default_collate; share_memory_() would copy the memory that is not yet written.
    storage = torch.UntypedStorage._new_shared(size * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape)
