"""A PyTorch dataset of sets of local features: one set per video and modality.

    store ─ rows of a subset ─ float16 vectors, memory-mapped ─ some of each set ─ padded batches

As in snippets.py, a sample depends only on (seed, epoch, index). Nothing is ever substituted: an
empty set stays empty, and the network decides what to use in its place.

    B  videos of a batch      L  features of the longest set in it      D  values of a feature
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch.utils.data import Dataset

from flowkit.datasets.sampling import make_generator, sample_middles
from flowkit.datasets.snippets import Key, make_tensor
from flowkit.datasets.subsets import LabelledSubset
from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.recipe import FEATURES
from flowkit.store import Store
from flowkit.store.format.schema import vector_dimension

F16 = npt.NDArray[np.float16]
I64 = npt.NDArray[np.int64]


class FeatureSetDataset(Dataset[dict[str, torch.Tensor]]):
    """Local features of each video of a subset, aligned by video over modalities.

    A sample is a dict. For each modality m it has ``m`` float16 (L, D) and ``m_lengths`` int64 ();
    it also has ``label``, and ``row``, the row of the video in the store. `batch` loads many
    samples at once.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index.
        streams: Name of the features of each modality, such as ``{"rgb": "inception"}``.
        sample: Number of features to take from each set, or one number for each modality that is
            not taken whole. Smaller sets are taken whole.
        training: Whether to take random distinct features, drawn for each modality separately,
            rather than the middles of equal parts of the set. Both keep the order.
        may_be_empty: Modalities that videos may lack, such as audio.
        many: Whether labels are float32 (classes,) of 0 and 1, for videos with several labels.
        seed: Seed of everything random.

    Raises:
        StoreError: The store or a video lacks the features, or a set is empty whose modality is
            not in ``may_be_empty``.
        UsageError: Another name does not exist.
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str,
        streams: Mapping[str, str],
        *,
        sample: Mapping[str, int] | int | None = None,
        training: bool = False,
        may_be_empty: Collection[str] = (),
        many: bool = False,
        seed: int = 0,
    ) -> None:
        store = store if isinstance(store, Store) else Store(store)
        check_modalities(streams, sample, may_be_empty)
        self.subset = LabelledSubset(store=store, name=subset, many=many)
        self.training, self.seed = training, seed
        self.sample = (
            dict(sample) if isinstance(sample, Mapping) else dict.fromkeys(streams, sample)
        )
        self.sets = {m: FeatureSets(self.subset, name) for m, name in streams.items()}
        for modality in self.sets.keys() - set(may_be_empty):
            sets = self.sets[modality]
            self.subset.reject_videos(
                list(self.subset.rows[sets.lengths == 0]),
                f"no vectors in {sets.stream}: name {modality} in may_be_empty if that is right",
            )
        column = store.index.batch.column("labels")
        counts = column.value_lengths().to_numpy()
        ends = np.cumsum(counts)[self.subset.rows]
        self._spans = np.stack([ends - counts[self.subset.rows], ends], axis=1)
        self._classes = column.flatten().field("class").to_numpy().astype(np.int64)

    def __len__(self) -> int:
        return len(self.subset.rows)

    def __getitem__(self, key: int | Key) -> dict[str, torch.Tensor]:
        return {name: values[0] for name, values in self.batch([key]).items()}

    @property
    def dimensions(self) -> dict[str, int]:
        """Return the number of values of a feature, D, by modality."""
        return {modality: sets.dimension for modality, sets in self.sets.items()}

    def batch(self, keys: Sequence[int | Key]) -> dict[str, torch.Tensor]:
        """Load samples as one batch.

        Args:
            keys: Indices of samples, or (epoch, index) pairs.

        Returns:
            For each modality ``m``: ``m`` float16 (B, L, D), zero beyond ``m_lengths`` int64 (B,).
            ``label``: int64 (B,), or float32 (B, classes) if videos have many labels.
            ``row``: int64 (B,), the row of each video in the store.
        """
        pairs = [(0, int(key)) if isinstance(key, int | np.integer) else key for key in keys]
        indices = np.array([index for _, index in pairs], np.int64)
        random = self.training and any(number is not None for number in self.sample.values())
        draws = [make_generator(self.seed, e, int(self.subset.rows[i])) for e, i in pairs if random]
        batch: dict[str, torch.Tensor] = {}
        for modality, sets in self.sets.items():
            vectors, lengths = self._take(sets, indices, self.sample.get(modality), draws)
            batch[modality], batch[f"{modality}_lengths"] = vectors, torch.from_numpy(lengths)
        batch["label"] = self._take_labels(indices)
        batch["row"] = torch.from_numpy(self.subset.rows[indices])
        return batch

    def _take(
        self,
        sets: "FeatureSets",
        indices: I64,
        number: int | None,
        draws: list[np.random.Generator],
    ) -> tuple[torch.Tensor, I64]:
        """Take at most ``number`` vectors of each set, (B, L, D), and return their counts, (B,)."""
        whole = sets.lengths[indices]
        lengths = whole if number is None else np.minimum(whole, number)
        longest = int(lengths.max(initial=0))
        data = make_tensor((len(indices), longest, sets.dimension), torch.float16)
        out: F16 = data.view(len(indices), longest * sets.dimension).numpy()
        if (lengths == longest).all() and (whole == longest).all():
            sets.read_equal(indices, out)
        else:
            for i, (index, length) in enumerate(zip(indices, lengths, strict=True)):
                vectors = sets.read(index)
                if length < len(vectors):
                    vectors = vectors[self._choose(len(vectors), length, draws[i : i + 1])]
                filled = vectors.size
                out[i, :filled], out[i, filled:] = vectors.ravel(), 0
        return data, lengths

    def _choose(self, available: int, number: int, draws: list[np.random.Generator]) -> I64:
        """Choose the vectors to take from a set, in ascending order."""
        if not self.training:
            return sample_middles(available, number)
        return np.sort(draws[0].permutation(available)[:number])

    def labels(self) -> torch.Tensor:
        """Return all labels: int64 (N,), or float32 (N, classes) of 0 and 1 with ``many``."""
        return self._take_labels(np.arange(len(self)))

    def _take_labels(self, indices: I64) -> torch.Tensor:
        spans = self._spans[indices]
        if not self.subset.many:
            return torch.from_numpy(self._classes[spans[:, 0]])
        target = torch.zeros(len(indices), len(self.subset.store.classes))
        for row, (start, end) in zip(target.numpy(), spans, strict=True):
            row[self._classes[start:end]] = 1
        return target

    def mean(self, modality: str) -> torch.Tensor:
        """Compute the mean of all vectors of all videos, float32 (D,), whatever is sampled of them.

        Raises:
            StoreError: Every set is empty.
        """
        sets = self.sets[modality]
        count = int(sets.lengths.sum())
        if not count:
            raise StoreError(
                f"{self.subset.store.path}: expected at least one vector in {sets.stream} of "
                f"subset {self.subset.name!r} to take their mean, got none; leave {modality} out"
            )
        total = np.zeros(sets.dimension)
        for index in range(len(self)):
            total += sets.read(index).sum(axis=0, dtype=np.float64)
        return torch.from_numpy((total / count).astype(np.float32))


class FeatureSets:
    """Vectors of one stream, indexed by position in a subset; ``lengths`` is int64 (N,).

    Vectors are read from a memory map of each shard, while images are read with pread. A set is a
    few kB, is read whole, and is read once in each of about a hundred epochs, so the page cache
    comes to hold all sets; copying from the map then costs a tenth of a system call. Images are
    read once per epoch, among a hundred times as many bytes, and take much longer to decode than to
    read. A map would gain nothing there, and a file that vanishes under a map (on a network file
    system) kills the process. Keep stores of features that are trained from on a local disk.

    Pickling drops the maps; each process opens its own when needed.
    """

    def __init__(self, subset: LabelledSubset, name: str) -> None:
        self.store, self.stream = subset.store, f"{FEATURES}{name}"
        index = self.store.index
        if self.stream not in index.streams:
            made = [s.removeprefix(FEATURES) for s in index.streams if s.startswith(FEATURES)]
            raise StoreError(
                f"{self.store.path}: expected features that it has ({', '.join(made) or 'none'}), "
                f"got {name!r}; make them with `flowkit features --name {name}`"
            )
        self.dimension = vector_dimension(self.stream, self.store.recipe) or 0
        column = index.batch.column(self.stream)
        lacking = column.is_null().to_numpy(zero_copy_only=False)[subset.rows]
        subset.reject_videos(
            list(subset.rows[lacking]),
            f"no {self.stream}: make them with `flowkit features --name {name}`",
        )
        shard, batch, first, rows = (
            column.field(k).to_numpy()[subset.rows].astype(np.int64) for k in range(4)
        )
        self.lengths: I64 = rows
        self._shards, self._starts = shard, first * self.dimension
        self._split: dict[int, list[tuple[int, int]]] = {}  # sets that span several batches
        self._maps: dict[int, F16] = {}
        self._locate(batch, first)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}

    def _locate(self, batches: I64, first: I64) -> None:
        """Convert positions in batches to positions in files, counted in float16 values."""
        where, inverse = np.unique(np.stack([self._shards, batches]), axis=1, return_inverse=True)
        known = [self._find_values(int(shard), int(batch)) for shard, batch in where.T]
        starts, counts = np.array(known, np.int64).reshape(-1, 2)[inverse.ravel()].T
        self._starts += starts
        for i in np.flatnonzero(first + self.lengths > counts).tolist():
            self._split[i] = self._list_pieces(
                int(self._shards[i]), int(batches[i]), int(first[i]), int(self.lengths[i])
            )

    def _find_values(self, shard: int, batch: int) -> tuple[int, int]:
        """Find where a batch's vectors begin in the file, in float16 values, and their number."""
        path, extent = self.store.shards.locate(shard, batch, "vector")
        if extent.size != 2 * self.dimension * extent.rows or extent.values % 2:
            raise CorruptError(
                f"{path}: expected vectors of {self.dimension} float16 values, as the store's "
                f"recipe says, got {extent.size} bytes in {extent.rows} rows; run `flowkit verify`"
            )
        return extent.values // 2, extent.rows

    def _list_pieces(self, shard: int, batch: int, row: int, rows: int) -> list[tuple[int, int]]:
        """List (start, rows) of a set in each batch that it spans."""
        return [
            (self._find_values(shard, its_batch)[0] + first * self.dimension, count)
            for its_batch, first, count in self.store.shards.list_spans((shard, batch, row, rows))
        ]

    def _map(self, shard: int) -> F16:
        """Map a whole shard file as float16 values, most of which are the vectors."""
        if shard not in self._maps:
            path, _ = self.store.shards.locate(shard, 0, "vector")
            mapped = np.memmap(path, np.float16, "r", shape=(path.stat().st_size // 2,))
            self._maps[shard] = mapped.view(np.ndarray)  # plain arrays are cheaper to slice
        return self._maps[shard]

    def read(self, index: int) -> F16:
        """Return one set, (rows, D), which must not be written to."""
        values = self._map(int(self._shards[index]))
        own = [(int(self._starts[index]), int(self.lengths[index]))]
        pieces = [
            values[start : start + rows * self.dimension].reshape(rows, self.dimension)
            for start, rows in self._split.get(int(index), own)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def read_equal(self, indices: I64, out: F16) -> None:
        """Read sets of equal length into ``out`` (B, L·D)."""
        shards = self._shards[indices]
        for shard in np.unique(shards).tolist() if out.size else []:
            values = sliding_window_view(self._map(shard), out.shape[1])
            mine = np.flatnonzero(shards == shard)
            out[mine] = values[self._starts[indices[mine]]]
        for i, index in enumerate(indices.tolist()) if self._split else []:
            if index in self._split:
                out[i] = self.read(index).ravel()


def check_modalities(
    streams: Mapping[str, str],
    sample: Mapping[str, int] | int | None,
    may_be_empty: Collection[str],
) -> None:
    """Check the modalities and the numbers of features.

    Raises:
        UsageError: Modalities clash or do not exist, or a number is below 1.
    """
    taken = {"label", "row", *(f"{modality}_lengths" for modality in streams)}
    if not streams or taken & streams.keys():
        raise UsageError(
            f"expected at least one modality, none of them {', '.join(sorted(taken))}; got "
            f"{', '.join(streams) or 'none'}"
        )
    numbers = sample if isinstance(sample, Mapping) else {} if sample is None else {"": sample}
    unknown = [m for m in (*numbers, *may_be_empty) if m and m not in streams]
    if unknown:
        raise UsageError(f"expected modalities of {', '.join(streams)}, got {', '.join(unknown)}")
    for modality, number in numbers.items():
        if number < 1:
            raise UsageError(f"expected to sample at least 1 feature of {modality}, got {number}")
