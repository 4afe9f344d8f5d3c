"""The abstract base class of all kinds of training.

The training loop, validation, evaluation and prediction are the same for every kind. They get the
task of a recipe from `train.tasks.registry.find_task`, and leave to it how a network is built,
fed and scored.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from flowkit.datasets.loading import Key
from flowkit.datasets.subsets import Subset
from flowkit.recipe import Recipe as StoreRecipe
from flowkit.store import Store
from train.recipe.recipe import Branch, RecipeT
from train.runs.journal import Log
from train.runs.phases import Phase
from train.runs.run import Run
from train.tasks.samples import Use

Batch = dict[str, torch.Tensor]
NetworkT = TypeVar("NetworkT", bound=nn.Module)


class TaskDataset(Protocol):
    """A dataset that makes whole batches."""

    @property
    def subset(self) -> Subset:
        """The subset of the store whose videos are read."""

    def __len__(self) -> int:
        """Return the number of videos."""

    def labels(self) -> torch.Tensor:
        """Return the labels of all videos: (N,) int64, or (N, C) float32 of zeros and ones."""

    def batch(self, keys: Sequence[int | Key]) -> Batch:
        """Return the samples of these keys, (epoch, index) each, with ``label`` and ``row``."""


class Task(ABC, Generic[RecipeT, NetworkT]):
    """One kind of training: its network, its data and its scores.

    Shapes: B videos, V views of a video (segments or patches, times crops), C classes.

    Args:
        recipe: A recipe of this kind. Methods that open a dataset need it for one split (see
            `train.recipe.recipe.of_split`).
    """

    name: ClassVar[str]
    """What the network is trained on, as messages call it."""

    test_batch_size: ClassVar[int]
    """Videos in a batch of `test_scores`."""

    score_titles: ClassVar[Mapping[str, str]]
    """The title of each score in tables, by the score's name."""

    default_workers: ClassVar[int | None] = None
    """Loader workers when the user names no number; None for the machine's default."""

    def __init__(self, recipe: RecipeT) -> None:
        self.recipe = recipe

    # --- networks --------------------------------------------------------------------------------

    @abstractmethod
    def check(self, store: Store) -> None:
        """Check the recipe against a store before a run is created.

        Args:
            store: The store to train on.

        Raises:
            UsageError: The network cannot be built or fed, or its weight files do not fit.
            StoreError: The store lacks data that the recipe reads.
        """

    @abstractmethod
    def build_network(self, phase: Phase) -> NetworkT:
        """Build the network of a phase with random weights.

        The weights depend on the recipe's seed and the name of the phase alone.

        Args:
            phase: The phase that will train the network.

        Raises:
            UsageError: The recipe describes a network that cannot be built.
        """

    @abstractmethod
    def start_network(self, run: Run, phase: Phase, store: Store, log: Log) -> NetworkT:
        """Build the network of a phase and load the weights that the phase starts from.

        Args:
            run: The run, whose earlier phases may provide weights.
            phase: The phase to start.
            store: The store to train on.
            log: Called with a line of text for each weight file and each set of skipped videos.
        """

    @abstractmethod
    def set_train_mode(self, network: NetworkT, phase: Phase) -> None:
        """Put the network in train mode and choose which of its parameters a phase trains.

        To be called before each epoch, because validation puts the network in eval mode.

        Args:
            network: The network, which is changed.
            phase: The phase that trains it.

        Raises:
            UsageError: The recipe names parts that the network does not have.
        """

    def trained_part(self, network: NetworkT, phase: Phase) -> nn.Module:
        """Return the part of a network that a phase trains. Default: all of it."""
        return network

    def select_weights(self, network: NetworkT, phase: Phase) -> Batch:
        """Return the weights that a finished phase saves. Default: all of them."""
        weights: Batch = network.state_dict()
        return weights

    def find_invalid_weights(self, network: NetworkT) -> list[str]:
        """Return the names of weights that are not finite, though they should be."""
        weights = network.state_dict()
        return [name for name, weight in weights.items() if not torch.isfinite(weight).all()]

    @abstractmethod
    def load_finished_network(
        self, run: Run, phase: Phase, branches: tuple[Branch, ...]
    ) -> NetworkT:
        """Load the network of a finished phase, in eval mode.

        Args:
            run: The run that holds the weights.
            phase: A phase of the run.
            branches: The scores that are needed. Layers that do not change them may be left out.

        Raises:
            RunError: The phase is not finished, or its weight file is damaged.
        """

    @abstractmethod
    def count_costs(self) -> dict[str, dict[str, float]]:
        """Count the parameters that each score needs.

        Returns:
            By name: ``parameters``, and ``ratio``, their number relative to a whole network or
            to one branch.
        """

    # --- data and scores -------------------------------------------------------------------------

    @abstractmethod
    def open_dataset(
        self, store: Store, phase: Phase, use: Use, subset: str | None = None
    ) -> TaskDataset:
        """Open the videos of a subset as the network of a phase reads them.

        Args:
            store: The store to read.
            phase: The phase whose network reads the samples.
            use: "train" for random samples, "validate" for one fixed view of each video, "test"
                for all views.
            subset: Name of a subset, whose videos need no labels. Default: the recipe's subset
                for this use.

        Raises:
            UsageError: A label is outside the recipe's classes.
            StoreError: The store lacks data that the recipe reads.
        """

    @abstractmethod
    def train_scores(
        self, network: nn.Module, batch: Batch, phase: Phase, device: torch.device
    ) -> Batch:
        """Run a network on a batch in training or validation.

        Args:
            network: The network, or a wrapper of it (DDP, torch.compile).
            batch: A batch of B videos from `open_dataset`.
            phase: The phase of the network.
            device: The device of the network.

        Returns:
            Logits (B·V, C) by branch, and the network's own losses by name.
        """

    @abstractmethod
    def test_scores(
        self, network: NetworkT, batch: Batch, phase: Phase, device: torch.device
    ) -> Batch:
        """Run a network on all views of a batch of test videos, without gradients.

        Args:
            network: A network from `load_finished_network`.
            batch: A batch of at most `test_batch_size` videos.
            phase: The phase of the network.
            device: The device of the network.

        Returns:
            Logits (B, V, C) by branch.
        """

    def add_losses(self, loss: torch.Tensor, outputs: Batch) -> tuple[torch.Tensor, Batch]:
        """Add the network's own losses to the classification loss. Default: there are none.

        Args:
            loss: The classification loss, a scalar.
            outputs: What `train_scores` returned.

        Returns:
            The total loss, and its terms by name, detached, if there are several.
        """
        return loss, {}

    # --- prediction ------------------------------------------------------------------------------

    @abstractmethod
    def recipe_for_video_file(self, store_recipe: StoreRecipe) -> StoreRecipe | None:
        """Return the recipe by which a single video file is extracted for prediction.

        Args:
            store_recipe: The recipe of the store that the run was trained on.

        Returns:
            The same recipe with the streams that the network reads, or None if the network reads
            features, which cannot be extracted from a file alone.
        """

    def check_video_file(self, run: Run, video: Path, store: Store) -> None:
        """Check that a video file has what the network needs. Default: any video has.

        Args:
            run: The run, for the message.
            video: The video file, for the message.
            store: The store into which the video was extracted; it holds no other.

        Raises:
            VideoError: The network cannot classify this video.
        """


AnyTask = Task[Any, Any]
