"""Feed PyTorch with log-mel patches of videos, for audio networks such as a VGG-16.

    patches of a video (96 time steps × 64 mel bands) ─ K of them ─ network inputs of one channel

Long et al., "Attention Clusters", CVPR 2018, §5.2: patches are "processed just like an image". A
sample has K patches, chosen as TSN chooses snippets (see sampling.py): training uses a random patch
of each of K equal segments, testing uses the middle patches or all. Values are those of the store,
log(mel + 0.01).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from flowkit.datasets.loading import Key, split_key
from flowkit.datasets.sampling import make_generator, sample_middles, sample_randomly
from flowkit.datasets.subsets import Subset
from flowkit.errors import UsageError
from flowkit.store import Store


class PatchDataset(Dataset[dict[str, torch.Tensor]]):
    """K log-mel patches of each video.

    A sample is a dict of

    - ``audio``: (K, 1, 96, 64) float32 log-mel values;
    - ``label``: () int64, or (classes,) float32 of 0 and 1 with ``multi_label``;
    - ``row``: () int64, the row of the video in the store.

    The attribute ``silent`` is the number of videos that were left out because they have no sound.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index, or the row of the only video.
        num_patches: Number of patches K; 0 means all patches of a video, for testing only. If a
            video has fewer patches than K, neighbouring segments share a patch.
        training: Whether to draw random patches instead of fixed ones.
        leave_out_silent: Whether to leave out videos without any patch; they are an error
            otherwise.
        multi_label: Whether a video may have any number of labels instead of exactly one.
        seed: Seed of all random choices.

    Raises:
        UsageError: If a name is unknown, or ``num_patches`` is too small.
        StoreError: If the audio of a video was not extracted, or a video has no label or no sound.

    Example:
        >>> dataset = PatchDataset("stores/kinetics", "train", 5, training=True)
        >>> dataset[0]["audio"].shape
        torch.Size([5, 1, 96, 64])
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str | int,
        num_patches: int,
        *,
        training: bool = False,
        leave_out_silent: bool = False,
        multi_label: bool = False,
        seed: int = 0,
    ) -> None:
        """Open the store and check the videos of the subset."""
        if num_patches < (1 if training else 0):
            raise UsageError(
                "expected num_patches of at least 1 for training, or 0 (all) for testing, got "
                f"{num_patches}"
            )
        self.subset = Subset(store, subset, multi_label)
        self.num_patches, self.training, self.seed = num_patches, training, seed
        index = self.subset.store.index
        locations = [index.locate("audio", int(row)) for row in self.subset.rows]
        is_missing = [location is None for location in locations]
        missing = self.subset.rows[is_missing]
        self.subset.raise_if_any(missing, "no audio: extract it with --streams audio")
        counts = np.array([location.rows for location in locations if location])
        if not leave_out_silent:
            silent = self.subset.rows[counts == 0]
            self.subset.raise_if_any(silent, "no sound: leave_out_silent=True leaves them out")
        self.rows = self.subset.rows[counts > 0]
        self.silent = int((counts == 0).sum())

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.rows)

    def labels(self) -> torch.Tensor:
        """Return the labels of all samples.

        Returns:
            (N,) int64, or, with ``multi_label``, (N, classes) float32 of 0 and 1.
        """
        return self.subset.labels(self.rows)

    def __getitem__(self, key: int | Key) -> dict[str, torch.Tensor]:
        """Read one sample.

        Args:
            key: Epoch and index, or an index alone for epoch 0.

        Returns:
            ``audio``, ``label`` and ``row``.
        """
        epoch, index = split_key(key)
        row = int(self.rows[index])
        patches = self.subset.store[row].audio()
        if self.training:
            random = make_generator(self.seed, epoch, row)
            patches = patches[sample_randomly(len(patches), self.num_patches, random)]
        elif self.num_patches:
            patches = patches[sample_middles(len(patches), self.num_patches)]
        audio = torch.from_numpy(np.array(patches, np.float32))[:, None]
        return {"audio": audio, "label": self.subset.label(row), "row": torch.tensor(row)}

    def batch(self, keys: Sequence[int | Key]) -> dict[str, torch.Tensor]:
        """Read several samples as one batch.

        Args:
            keys: Epochs and indices, or indices alone for epoch 0; at least one.

        Returns:
            The fields of a sample, stacked: ``audio`` is (B, K, 1, 96, 64).

        Raises:
            UsageError: If ``num_patches`` is 0 and there is more than one key.
        """
        if not self.num_patches and len(keys) > 1:
            raise UsageError(
                "cannot batch all patches of several videos, because their number differs: read "
                "one video at a time, or set num_patches"
            )
        samples = [self[key] for key in keys]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
