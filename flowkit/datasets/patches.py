"""Log-mel patches of videos, for networks of sound such as a VGG-16 on Kinetics.

    patches of a video (96 windows × 64 mel bands each) ─ K of them ─ images of one channel

Long et al., "Attention Clusters", CVPR 2018, §5.2: patches are "processed just like an image". A
sample is K of them as TSN takes snippets (sampling.py): one at random of each of K equal segments
for training, the middle ones or all for testing. Values are those of the store, log(mel + 0.01).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from flowkit.datasets.sampling import draw, sample_middles, sample_randomly
from flowkit.datasets.snippets import Key
from flowkit.datasets.subsets import LabelledSubset
from flowkit.errors import UsageError
from flowkit.store import Store


class PatchDataset(Dataset[dict[str, torch.Tensor]]):
    """K log-mel patches of each video.

    Parameters
    ----------
    store, subset, many, seed: as for `SnippetDataset`.
    num_patches: K; 0 for all that a video has, for testing alone. With fewer patches than K,
        neighbouring segments share one.
    training: random patches, or fixed ones.
    leave_out_silent: take only videos with at least one patch; otherwise one without is refused.
        ``silent`` says how many were left out.

    A sample is a dict of ``audio`` (K, 1, 96, 64) float32, ``label`` and ``row`` (of the video in
    the store). Raises StoreError for videos whose audio was not extracted.
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str,
        num_patches: int,
        *,
        training: bool = False,
        leave_out_silent: bool = False,
        many: bool = False,
        seed: int = 0,
    ) -> None:
        if num_patches < (1 if training else 0):
            raise UsageError(
                "expected num_patches of at least 1 for training, or 0 (all) for testing, got "
                f"{num_patches}"
            )
        store = store if isinstance(store, Store) else Store(store)
        self.subset = LabelledSubset(store=store, name=subset, many=many)
        self.num_patches, self.training, self.seed = num_patches, training, seed
        places = [store.index.place("audio", int(row)) for row in self.subset.rows]
        lacking = [row for row, place in zip(self.subset.rows, places, strict=True) if not place]
        self.subset.refuse(lacking, "no audio: extract it with --streams audio")
        counts = np.array([place[3] for place in places if place])
        if not leave_out_silent:
            silent = list(self.subset.rows[counts == 0])
            self.subset.refuse(silent, "no sound: leave_out_silent=True goes without them")
        self.rows = self.subset.rows[counts > 0]
        self.silent = int((counts == 0).sum())

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self) -> torch.Tensor:
        """Of all samples: (N,) int64, or (N, classes) float32 of 0 and 1 with ``many``."""
        return torch.stack([self.subset.label(int(row)) for row in self.rows])

    def __getitem__(self, key: int | Key) -> dict[str, torch.Tensor]:
        epoch, index = (0, key) if isinstance(key, int) else key
        row = int(self.rows[index])
        patches = self.subset.store[row].audio()
        if self.training:
            random = draw(self.seed, epoch, row)
            patches = patches[sample_randomly(len(patches), self.num_patches, random)]
        elif self.num_patches:
            patches = patches[sample_middles(len(patches), self.num_patches)]
        audio = torch.from_numpy(np.array(patches, np.float32))[:, None]
        return {"audio": audio, "label": self.subset.label(row), "row": torch.tensor(row)}

    def batch(self, keys: Sequence[int | Key]) -> dict[str, torch.Tensor]:
        """Samples of one number of patches as a batch: (B, K, 1, 96, 64)."""
        if not self.num_patches and len(keys) > 1:
            raise UsageError(
                "all patches of videos make no batch, since they differ in number: take one video "
                "at a time, or say num_patches"
            )
        samples = [self[key] for key in keys]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
