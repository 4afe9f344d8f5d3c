"""Open a recipe's datasets over a store, load batches, and prepare images for a network.

A *stream* is one kind of data of a video in a store (``rgb``, ``flow``, ``audio`` or
``features/NAME``). A *branch* is one network of a two-stream model, named after its stream.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader

from flowkit.caches import shorten_socket_paths
from flowkit.datasets import transforms
from flowkit.datasets.clips import ClipDataset
from flowkit.datasets.loading import Batches, EpochSampler, Key
from flowkit.datasets.sampling import ClipSampling, make_generator
from flowkit.datasets.snippets import SnippetDataset
from flowkit.datasets.subsets import Subset
from flowkit.datasets.video_dataset import VideoDataset, scale_bytes
from flowkit.datasets.windows import WindowDataset
from flowkit.errors import UsageError
from flowkit.store import Store
from flowkit.streams import StreamName
from models.backbones.backbone import normalize
from train.distributed.parallel import choose_layout
from train.recipe.recipe import ImageRecipe
from train.runs.phases import Phase
from train.runs.run import RunError, Settings
from train.tasks.backbones import InputDescription

Use = Literal["train", "validate", "test"]
USES: tuple[Use, ...] = ("train", "validate", "test")
TensorDict = dict[str, torch.Tensor]
"""Tensors by name: a batch, logits by branch, losses by name, or weights by name."""
TEST_CROPS: dict[str, Callable[[int], transforms.CropStrategy]] = {
    "centre": transforms.CentreCrop,
    "three": transforms.ThreeCrop,
    "ten": transforms.TenCrop,
}


class TaskDataset(Protocol):
    """A dataset that assembles whole batches."""

    @property
    def subset(self) -> Subset:
        """The subset of the store whose videos are read."""

    def __len__(self) -> int:
        """Return the number of videos."""

    def labels(self) -> torch.Tensor:
        """Return the labels of all videos: (N,) int64, or (N, C) float32 of zeros and ones."""

    def batch(self, keys: Sequence[int | Key]) -> TensorDict:
        """Return a batch of the samples of these keys, with ``label`` and ``row``.

        A key is (epoch, index): random samples differ between epochs.
        """


def list_network_streams(phase: Phase) -> tuple[StreamName, ...]:
    """Return the streams that the network of a phase reads."""
    return ("rgb", "flow") if phase.cma else (phase.stream,)


def make_dataset(
    recipe: ImageRecipe,
    store: Store,
    streams: tuple[StreamName, ...],
    use: Use,
    video: int | None = None,
) -> VideoDataset:
    """Open a dataset of images as uint8.

    Args:
        recipe: The recipe, for one split.
        store: The store to read.
        streams: The streams to read.
        use: "train" for random samples, "validate" for one view of K segments, "test" for all
            views.
        video: Row of the only video to read, which needs no label. Default: the videos of the
            recipe's subset for this use.

    Raises:
        UsageError: A label is outside the recipe's classes, or the recipe trains on windows and
            no label has a time.
    """
    data, testing = recipe.data, recipe.testing
    videos = getattr(recipe.subsets, use) if video is None else video
    crops: transforms.CropStrategy = transforms.CentreCrop(data.size)
    if use == "train":
        crops = make_crops(recipe, streams)
    elif use == "test":
        crops = TEST_CROPS[testing.crops](data.size)
    options: dict[str, Any] = {
        "streams": streams,
        "training": use == "train",
        "crops": crops,
        "seed": recipe.seed,
        "as_bytes": True,
    }
    multi_label = video is not None or recipe.labels == "many"
    segments = testing.segments if use == "test" else data.num_segments
    dataset: VideoDataset
    if data.clip is not None:
        clips = testing.segments if use == "test" else 1
        sampling = ClipSampling(length=data.clip.length, stride=data.clip.stride, clips=clips)
        dataset = ClipDataset(store, videos, sampling, multi_label=multi_label, **options)
    elif data.window is not None and use == "train":
        options |= {"seconds": data.window, "flow_length": data.flow_length}
        dataset = WindowDataset(store, videos, segments, **options)
        check_times(dataset)
    else:
        options["flow_length"] = data.flow_length
        dataset = SnippetDataset(store, videos, segments, multi_label=multi_label, **options)
    if video is None:
        check_labels(dataset.subset, recipe.classes)
    return dataset


def make_crops(recipe: ImageRecipe, streams: tuple[StreamName, ...]) -> transforms.CropStrategy:
    """Make the recipe's random crop for training."""
    data = recipe.data
    if data.crops == "multi-scale":
        default = transforms.FLOW_SCALES if "flow" in streams else transforms.RGB_SCALES
        return transforms.MultiScaleCrop(data.scales or default, data.size, data.mirror)
    if data.crops == "jittered":
        return transforms.JitteredCrop(data.jitter, data.size, data.mirror)
    return transforms.RandomCrop(data.size, data.mirror)


def check_labels(subset: Subset, classes: int) -> None:
    """Raise UsageError for the first video with a class that the network has no score for."""
    store = subset.store
    column = store.index.batch.column("labels")
    rows = np.repeat(np.arange(len(store)), column.value_lengths().to_numpy())
    labels = column.flatten().field("class").to_numpy()
    for index in np.flatnonzero((labels >= classes) & np.isin(rows, subset.rows))[:1]:
        raise UsageError(
            f"{store.location}: video {store.index.id(int(rows[index]))!r} has class "
            f"{labels[index]}, "
            f"the recipe {classes} classes (0 … {classes - 1}). Set classes in the recipe (--set "
            "classes=N), or rebuild the index"
        )


def check_times(dataset: WindowDataset) -> None:
    """Raise UsageError if no label has a time, because each window would then have all labels."""
    store = dataset.subset.store
    labels = [
        label for row in dataset.subset.rows for label in store.index.value("labels", int(row))
    ]
    if all(label["start"] is None and label["end"] is None for label in labels):
        raise UsageError(
            f"{store.location}: data.window trains on what happens in a window, so it needs labels "
            f"with times; none of the {len(labels)} labels of subset {dataset.subset.name!r} has "
            "one. "
            "Index the store again with annotations that have (start, end), or train on whole "
            "videos (--set data.window=null)"
        )


class OtherClassFlow:
    """A control experiment: each video gets the flow of a fixed video of another class.

    Args:
        dataset: Videos with one label each.
        seed: Seed of the choice of the other videos.

    Raises:
        UsageError: All videos have the same class.
    """

    def __init__(self, dataset: VideoDataset, seed: int) -> None:
        self.dataset = dataset
        labels = dataset.labels().tolist()
        if len(set(labels)) == 1:
            raise UsageError(
                "the control other-class-flow needs videos of at least two classes; "
                f"subset {dataset.subset.name!r} has one"
            )
        self.partners = []  # for each video, the index of the video whose flow replaces its own
        for index, label in enumerate(labels):
            candidates = [i for i, candidate in enumerate(labels) if candidate != label]
            random = make_generator(seed, (1 << 20) - 1, index)
            self.partners.append(candidates[int(random.integers(len(candidates)))])

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, keys: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """Return the dataset's batch, with the flow of the other videos."""
        partners = self.dataset.batch([(epoch, self.partners[index]) for epoch, index in keys])
        return {**self.dataset.batch(keys), "flow": partners["flow"]}


def make_loader(
    dataset: TaskDataset,
    sampler: EpochSampler | Sequence[Key],
    batch: int,
    settings: Settings,
    training: bool,
) -> DataLoader[Any]:
    """Make a loader of the batches of a dataset.

    Args:
        dataset: The dataset.
        sampler: Chooses the samples and their order.
        batch: Videos in a batch.
        settings: Loader workers and device.
        training: Drop the last batch if it is not full.
    """
    batches = BatchSampler(sampler, batch, drop_last=training)
    pinned = settings.device == "cuda"
    batch_dataset = Batches(dataset)
    return make_batch_loader(batch_dataset, batches, settings.workers, pinned, limit_threads)


def make_batch_loader(
    dataset: Any, batches: Any, workers: int, pinned: bool, initialize_worker: Callable[[int], None]
) -> DataLoader[Any]:
    """Make a loader whose processes live until it is deleted.

    Args:
        dataset: Given the keys of a batch, returns the batch.
        batches: Yields the keys of each batch.
        workers: Number of processes; 0 loads in the calling thread.
        pinned: Whether to use pinned memory, from which a GPU can copy while it computes.
        initialize_worker: Called with the index of each process when it starts.
    """
    shorten_socket_paths()
    forkserver = multiprocessing.get_context("forkserver")
    # Modules that are loaded once before the processes fork, so that they start at once.
    forkserver.set_forkserver_preload([type(dataset).__module__])
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        worker_init_fn=initialize_worker,
        multiprocessing_context=forkserver if workers else None,
        # A generator of its own. Otherwise a loader would draw from torch's global generator at the
        # start of each epoch, and a resumed training, which starts one more, would differ.
        generator=torch.Generator(),
    )


@contextmanager
def convert_loader_errors(subject: str, advice: str) -> Iterator[None]:
    """Turn the error that a loader process died into a `RunError` of one line.

    Args:
        subject: What the process is, such as "a process that loads data".
        advice: What to do if it was short of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):  # else an error of the dataset in a process
            raise
        reason = " ".join(str(error).split())[:160]
        raise RunError(f"{subject} died ({reason}). If it was short of memory, {advice}") from error


def limit_threads(worker: int) -> None:
    """Limit a loader worker to one thread, because more would compete for the cores."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def prepare_images(
    batch: TensorDict,
    streams: tuple[StreamName, ...],
    device: torch.device,
    inputs: InputDescription,
) -> TensorDict:
    """Move a batch to a device, and normalize and arrange its images for a network.

    Args:
        batch: For each stream (B, V, C, H, W) uint8: V views of each of B videos.
        streams: The streams that the network reads.
        device: The device of the network.
        inputs: What the network expects as its inputs.

    Returns:
        For each stream (B·V, C, H, W) float32; for a network that sees K frames at once,
        (B·V / K, K, C, H, W), with the frames of one crop of a video together.
    """
    prepared: TensorDict = {}
    for stream in streams:
        views = batch[stream].shape[1]
        images = batch[stream].to(device, non_blocking=True).flatten(0, 1)
        images = normalize(scale_bytes(images, stream), inputs.input_conventions[stream])
        if inputs.frames is not None:
            # The views of a sample are all crops of its first snippet, then those of the second, …
            by_snippet = images.unflatten(0, (-1, inputs.frames, views // inputs.frames))
            images = by_snippet.transpose(1, 2).flatten(0, 1)
        elif images.ndim == 4:
            images = images.contiguous(memory_format=choose_layout(device))
        prepared[stream] = images
    return prepared
