"""A PyTorch dataset of sets of local features: one set per video and modality.

    store ─ rows of a subset ─ float16 vectors, memory-mapped ─ some of each set ─ padded batches

A modality is one input of the network, such as ``rgb``; its features are a stream of the store,
``features/NAME``. A feature is a vector of D values. A sample depends only on (seed, epoch, row of
the video). An empty set stays empty: the network decides what to use instead. A batch is what the
network is given at once; a record batch is a part of an Arrow file (shard) of the store.

    B  videos in a batch      L  features of the longest set in it      D  values of a feature
    N  videos in the subset
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch.utils.data import Dataset

from flowkit.datasets.loading import Key, make_tensor, split_key
from flowkit.datasets.sampling import make_generator, sample_middles
from flowkit.datasets.subsets import Subset
from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.recipe import FEATURES
from flowkit.store import Store
from flowkit.store.arrow_arrays import convert_to_mask, make_numbers, view_numbers
from flowkit.store.format.schema import vector_dimension
from flowkit.store.index_view import Location

F16 = npt.NDArray[np.float16]
I64 = npt.NDArray[np.int64]


class FeatureSetDataset(Dataset[dict[str, torch.Tensor]]):
    """Local features of each video of a subset, aligned by video over modalities.

    A sample is a dict. For each modality m it has ``m`` float16 (L, D) and ``m_lengths`` int64 ();
    it also has ``label``, and ``row``, the row of the video in the store. `batch` loads many
    samples at once.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index, or the row of the only video.
        feature_names: Name of the features of each modality: ``{"rgb": "inception"}`` reads the
            stream ``features/inception``.
        max_features: Upper limit of the number of features in a set, or one limit for each
            modality. From larger sets, this number is chosen. Default: no limit.
        training: Whether to choose random distinct features, for each modality separately, rather
            than the middles of equal parts of the set. Both keep the order.
        may_be_empty: Modalities whose sets may be empty, such as audio.
        multi_label: Whether labels are float32 (classes,) of 0 and 1, for videos with several
            labels.
        seed: Seed of all random choices.

    Raises:
        StoreError: The store or a video does not have the features, or a set is empty whose
            modality is not in ``may_be_empty``.
        UsageError: The subset does not exist, or a modality is not one of ``feature_names``.
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str | int,
        feature_names: Mapping[str, str],
        *,
        max_features: Mapping[str, int] | int | None = None,
        training: bool = False,
        may_be_empty: Collection[str] = (),
        multi_label: bool = False,
        seed: int = 0,
    ) -> None:
        self.max_features: dict[str, int | None] = (
            dict(max_features)
            if isinstance(max_features, Mapping)
            else dict.fromkeys(feature_names, max_features)
        )
        check_modalities(feature_names, self.max_features, may_be_empty)
        self.subset = Subset(store, subset, multi_label)
        self.training, self.seed = training, seed
        self.sets = {m: FeatureSets(self.subset, name) for m, name in feature_names.items()}
        for modality in self.sets.keys() - set(may_be_empty):
            sets = self.sets[modality]
            self.subset.raise_if_any(
                self.subset.rows[sets.lengths == 0],
                f"no vectors in {sets.stream}: add {modality} to may_be_empty if that is right",
            )

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
            ``label``: int64 (B,), or float32 (B, classes) with ``multi_label``.
            ``row``: int64 (B,), the row of each video in the store.
        """
        epochs, indices = np.array([split_key(key) for key in keys], np.int64).reshape(-1, 2).T
        rows = self.subset.rows[indices]
        generators = []
        if self.training and any(self.max_features.values()):
            pairs = zip(epochs.tolist(), rows.tolist(), strict=True)
            generators = [make_generator(self.seed, epoch, row) for epoch, row in pairs]
        batch: dict[str, torch.Tensor] = {}
        for modality, sets in self.sets.items():
            limit = self.max_features.get(modality)
            vectors, lengths = self._read_sets(sets, indices, limit, generators)
            batch[modality], batch[f"{modality}_lengths"] = vectors, torch.from_numpy(lengths)
        return {**batch, "label": self.subset.labels(rows), "row": torch.from_numpy(rows)}

    def _read_sets(
        self,
        sets: "FeatureSets",
        indices: I64,
        limit: int | None,
        generators: list[np.random.Generator],
    ) -> tuple[torch.Tensor, I64]:
        """Read up to ``limit`` vectors of each set, (B, L, D), and return their counts, (B,)."""
        available = sets.lengths[indices]
        lengths = available if limit is None else np.minimum(available, limit)
        longest = int(lengths.max(initial=0))
        data = make_tensor((len(indices), longest, sets.dimension), torch.float16)
        out: F16 = data.view(len(indices), longest * sets.dimension).numpy()
        if (available == longest).all():
            sets.read_equal_lengths(indices, out)
            return data, lengths
        for i, (index, length) in enumerate(zip(indices, lengths, strict=True)):
            vectors = sets.read(index)
            if length < len(vectors) and self.training:
                vectors = vectors[np.sort(generators[i].permutation(len(vectors))[:length])]
            elif length < len(vectors):
                vectors = vectors[sample_middles(len(vectors), length)]
            out[i, : vectors.size], out[i, vectors.size :] = vectors.ravel(), 0
        return data, lengths

    def labels(self) -> torch.Tensor:
        """Return all labels: int64 (N,), or, with ``multi_label``, float32 (N, classes)."""
        return self.subset.labels(self.subset.rows)

    def mean(self, modality: str) -> torch.Tensor:
        """Compute the mean of all vectors of all videos, float32 (D,), without sampling.

        Raises:
            StoreError: Every set is empty.
        """
        sets = self.sets[modality]
        count = int(sets.lengths.sum())
        if not count:
            raise StoreError(
                f"{self.subset.store.location}: expected at least one vector in {sets.stream} of "
                f"subset {self.subset.name!r} to compute their mean, got none; leave {modality} out"
            )
        total = np.zeros(sets.dimension)
        for index in range(len(self)):
            total += sets.read(index).sum(axis=0, dtype=np.float64)
        return torch.from_numpy((total / count).astype(np.float32))


class FeatureSets:
    """The sets of one stream, by index of the video in a subset; ``lengths`` is int64 (N,).

    Vectors are read from a memory map of each shard, whereas images are read with pread. A set is a
    few kB, is read as a whole, and is read once in each of about a hundred epochs, so after the
    first epoch all sets are in the page cache. Then a copy from the map takes a tenth of the time
    of a system call. Images are a hundred times as many bytes, and take much longer to decode than
    to read, so a map would gain nothing. If a mapped file is removed (on a network file system),
    the process is killed. Keep a store on a local disk while you train on its features.

    Pickling drops the maps; each process opens its own when needed.
    """

    def __init__(self, subset: Subset, name: str) -> None:
        self.store, self.stream = subset.store, f"{FEATURES}{name}"
        index = self.store.index
        if self.stream not in index.streams:
            names = [s.removeprefix(FEATURES) for s in index.streams if s.startswith(FEATURES)]
            raise StoreError(
                f"{self.store.location}: expected one of its features "
                f"({', '.join(names) or 'none'}), got {name!r}; compute them with "
                f"`flowkit features --store {self.store.location} --name {name} --model …`"
            )
        self.dimension = vector_dimension(self.stream, self.store.recipe) or 0
        column = index.batch.column(self.stream)
        is_missing = convert_to_mask(column.is_null())[subset.rows]
        subset.raise_if_any(
            subset.rows[is_missing],
            f"no {self.stream}: compute them with `flowkit features --name {name} …`",
        )
        rows = make_numbers(subset.rows)
        self._shards, record_batches, first_rows, self.lengths = (
            view_numbers(column.field(k).take(rows)).astype(np.int64) for k in range(4)
        )
        self._maps: dict[int, F16] = {}
        self._rows = subset.rows
        self._locate_sets(record_batches, first_rows)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}

    def _locate_sets(self, record_batches: I64, first_rows: I64) -> None:
        """Find out where in its file each set starts, counted in float16 values."""
        locations = np.stack([self._shards, record_batches, first_rows, self.lengths], axis=1)
        pairs, inverse = np.unique(locations[:, :2], axis=0, return_inverse=True)
        extents = [self._locate_record_batch(shard, batch) for shard, batch in pairs.tolist()]
        starts, row_counts = np.array(extents, np.int64).reshape(-1, 2)[inverse.ravel()].T
        self._starts: I64 = starts + first_rows * self.dimension
        spanning = np.flatnonzero(first_rows + self.lengths > row_counts).tolist()
        self._spanning_sets = {index: Location(*locations[index].tolist()) for index in spanning}
        """Locations of the sets that span several record batches; they are read with pread."""

    def _locate_record_batch(self, shard: int, batch: int) -> tuple[int, int]:
        """Find where the vectors of a record batch start in the file, and count them.

        The start is counted in float16 values, of two bytes each; the store counts it in bytes.
        """
        self.store.shards.fetch(shard)
        path, extent = self.store.shards.locate(shard, batch, "vector")
        if extent.values_bytes != 2 * self.dimension * extent.rows or extent.values_position % 2:
            raise CorruptError(
                f"{path}: expected vectors of {self.dimension} float16 values, as the store's "
                f"recipe says, got {extent.values_bytes} bytes in {extent.rows} rows; run `flowkit "
                f"verify {self.store.location}`"
            )
        return extent.values_position // 2, extent.rows

    def _map(self, shard: int) -> F16:
        """Map a whole shard file as float16 values; most of them are vectors."""
        if shard not in self._maps:
            path = self.store.shards.fetch(shard)
            mapped = np.memmap(path, np.float16, "r", shape=(path.stat().st_size // 2,))
            self._maps[shard] = mapped.view(np.ndarray)  # plain arrays are cheaper to slice
        return self._maps[shard]

    def _check_sets(self, indices: Iterable[int]) -> None:
        """Check the record batches of sets, each of them once, if the store is opened for that."""
        if self.store.verify == "read":
            for index in indices:
                self.store[int(self._rows[index])].check_column(self.stream, "vector")

    def read(self, index: int) -> F16:
        """Return one set, (L, D); it must not be changed."""
        if index in self._spanning_sets:
            return self.store.shards.read_fixed(self._spanning_sets[index], self.stream, "vector")
        self._check_sets([index])
        start, rows = int(self._starts[index]), int(self.lengths[index])
        values = self._map(int(self._shards[index]))[start : start + rows * self.dimension]
        return values.reshape(rows, self.dimension)

    def read_equal_lengths(self, indices: I64, out: F16) -> None:
        """Read sets that all have the length L into ``out`` (B, L·D)."""
        shards = self._shards[indices]
        self._check_sets(indices)
        for shard in np.unique(shards).tolist() if out.size else []:
            values = sliding_window_view(self._map(shard), out.shape[1])
            in_shard = np.flatnonzero(shards == shard)
            out[in_shard] = values[self._starts[indices[in_shard]]]
        for i, index in enumerate(indices.tolist()) if self._spanning_sets else []:
            if index in self._spanning_sets:
                out[i] = self.read(index).ravel()


def check_modalities(
    feature_names: Mapping[str, str],
    max_features: Mapping[str, int | None],
    may_be_empty: Collection[str],
) -> None:
    """Check the names of modalities and the limits of `FeatureSetDataset`.

    Raises:
        UsageError: There is no modality, one has the name of another field of a sample, one of the
            other arguments has an unknown modality, or a limit is below 1.
    """
    reserved = {"label", "row", *(f"{modality}_lengths" for modality in feature_names)}
    if not feature_names or reserved & feature_names.keys():
        raise UsageError(
            f"expected at least one modality, none of them {', '.join(sorted(reserved))}; got "
            f"{', '.join(feature_names) or 'none'}"
        )
    unknown = [m for m in (*max_features, *may_be_empty) if m not in feature_names]
    if unknown:
        raise UsageError(
            f"expected modalities among {', '.join(feature_names)}, got {', '.join(unknown)}"
        )
    for modality, limit in max_features.items():
        if limit is not None and limit < 1:
            raise UsageError(f"expected max_features of at least 1 for {modality}, got {limit}")
