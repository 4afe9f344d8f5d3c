"""The abstract base class of all kinds of training.

The training loop, validation, evaluation and prediction are the same for every kind. They get the
task of a recipe from `train.tasks.registry.find_task`. The task builds the network, loads its
inputs and computes its scores.

A *branch* is one network of a two-stream model, named after the stream that it reads (``rgb``,
``flow``). A network of audio or of feature sets is a single branch (``audio``, ``sets``). Its
*scores* are its logits: one number for each class. A recipe has one score for each branch, by the
name of the branch, and ``fusion`` if it has two. A *phase* is a part of a run in which one branch
is trained.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from flowkit.recipe import StoreRecipe
from flowkit.store import Store
from train.recipe.recipe import Branch, RecipeT
from train.runs.journal import Log
from train.runs.phases import Phase
from train.runs.run import Run
from train.tasks.costs import Cost
from train.tasks.samples import TaskDataset, TensorDict, Use
from train.tasks.weights import load_phase_weights

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class Task(ABC, Generic[RecipeT, NetworkT]):
    """One kind of training: its network, its data and its scores.

    Shapes: B videos, V views of a video (segments or patches, times crops), C classes.

    Args:
        recipe: A recipe of this kind. Methods that open a dataset need it for one split (see
            `train.recipe.base.BaseRecipe.for_split`).
    """

    name: ClassVar[str]
    """What the network is trained on, for messages."""

    test_batch_size: ClassVar[int]
    """Videos in a batch of `test_scores`, where the user gives no number."""

    max_test_batch_size: ClassVar[int | None] = None
    """Most videos that `test_scores` processes together; None for any number."""

    test_keys: ClassVar[tuple[str, ...]] = ("over", "views")
    """Keys of the recipe's section ``testing`` that have an effect on scores."""

    score_titles: ClassVar[Mapping[str, str]]
    """The title of each score in tables, by the score's name."""

    default_workers: ClassVar[int | None] = None
    """Loader workers where the user gives no number; None for the machine's default."""

    measured_costs: ClassVar[dict[str, dict[str, Cost]]] = {}
    """Costs that this process has measured, by recipe and run."""

    def __init__(self, recipe: RecipeT) -> None:
        self.recipe = recipe

    # --- networks --------------------------------------------------------------------------------

    @abstractmethod
    def check(self, store: Store) -> None:
        """Check the recipe against a store before a run is created.

        Args:
            store: The store to train on.

        Raises:
            UsageError: The network cannot be built, its inputs or its weight files do not fit it.
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
            log: Called with a line about each weight file, and about videos that are left out.

        Raises:
            UsageError: A weight file does not exist, or does not fit the network.
            RunError: An earlier phase is not finished, or its weight file is damaged or does not
                fit.
            StoreError: The store lacks data that the recipe reads.
        """

    @abstractmethod
    def set_train_mode(self, network: NetworkT, phase: Phase) -> None:
        """Set the network to train mode, and set which of its parameters a phase trains.

        To be called before each epoch, because validation puts the network in eval mode.

        Args:
            network: The network, which is changed.
            phase: The phase that trains it.

        Raises:
            UsageError: The recipe names parts that the network does not have.
        """

    def get_trained_module(self, network: NetworkT, phase: Phase) -> nn.Module:
        """Return the part of a network that a phase trains. Default: all of it."""
        return network

    def select_weights(self, network: NetworkT, phase: Phase) -> TensorDict:
        """Return the weights that a finished phase saves. Default: all of them."""
        weights: TensorDict = network.state_dict()
        return weights

    def find_invalid_weights(self, network: NetworkT) -> list[str]:
        """Return the names of weights that are not finite, though they should be."""
        weights = network.state_dict()
        return [name for name, weight in weights.items() if not torch.isfinite(weight).all()]

    def load_finished_network(
        self, run: Run, phase: Phase, branches: tuple[Branch, ...] = ()
    ) -> NetworkT:
        """Load the network of a finished phase, in eval mode.

        Args:
            run: The run that holds the weights.
            phase: A phase of the run.
            branches: The branches whose scores are needed; empty for all. Layers that do not
                change these scores may be left out.

        Raises:
            RunError: The phase is not finished, or its weight file is damaged.
        """
        network = self.build_network(phase)
        load_phase_weights(network, run, phase)
        return network

    @abstractmethod
    def measure_costs(self, run: Run | None = None) -> dict[str, Cost]:
        """Measure what each score costs: parameters and floating-point operations.

        Args:
            run: The finished run, if there is one. Its weights tell which attention blocks are
                trained; without it the recipe tells.

        Returns:
            Costs by name. The first one is that of a whole network or of one branch, with whose
            parameters the others are compared.
        """

    def count_costs(self, run: Run | None = None) -> dict[str, dict[str, float]]:
        """Return the costs of each score, as results.json has them.

        Args:
            run: See `measure_costs`.

        Returns:
            By name: ``parameters``; ``ratio``, relative to the first cost; and, as far as they do
            not depend on the video, ``flops_per_view``, ``views`` and ``flops_per_video``
            (train/tasks/costs.py says what is counted).
        """
        key = repr((self.recipe, run and run.path.absolute()))
        if key not in self.measured_costs:
            self.measured_costs[key] = self.measure_costs(run)
        costs = self.measured_costs[key]
        reference = next(iter(costs.values())).parameters
        return {name: cost.to_dict(reference) for name, cost in costs.items()}

    # --- data and scores -------------------------------------------------------------------------

    @abstractmethod
    def open_dataset(
        self, store: Store, phase: Phase, use: Use, video: int | None = None
    ) -> TaskDataset:
        """Open the videos of a subset as the network of a phase reads them.

        Args:
            store: The store to read.
            phase: The phase whose network reads the samples.
            use: "train" for random samples, "validate" for one fixed view of each video, "test"
                for all views.
            video: Row of the only video to read, which needs no label. Default: the videos of the
                recipe's subset for this use.

        Raises:
            UsageError: A label is outside the recipe's classes.
            StoreError: The store lacks data that the recipe reads.
        """

    @abstractmethod
    def train_scores(
        self, network: nn.Module, batch: TensorDict, phase: Phase, device: torch.device
    ) -> TensorDict:
        """Run a network on a batch in training or validation.

        Args:
            network: The network, or a wrapper of it (DDP, torch.compile).
            batch: A batch of B videos from `open_dataset`.
            phase: The phase of the network.
            device: The device of the network.

        Returns:
            Logits (B·V, C) by branch, (B·V / K, C) if a network sees K frames at once; and the
            network's own losses by name.
        """

    @abstractmethod
    def test_scores(
        self, network: NetworkT, batch: TensorDict, phase: Phase, device: torch.device
    ) -> TensorDict:
        """Run a network on all views of a batch of test videos, without gradients.

        Args:
            network: A network from `load_finished_network`.
            batch: A batch of at most `max_test_batch_size` videos.
            phase: The phase of the network.
            device: The device of the network.

        Returns:
            Logits (B, V, C) by branch; (B, V / K, C) if a network sees K frames at once.
        """

    def add_losses(
        self, loss: torch.Tensor, outputs: TensorDict
    ) -> tuple[torch.Tensor, TensorDict]:
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
            The same recipe, without streams that are expensive to extract and that the network does
            not read; None if it reads features, which cannot be extracted from a file alone.
        """

    def check_video_file(self, run: Run, video: Path, store: Store) -> None:
        """Check that a video file has what the network needs. By default every video has.

        Args:
            run: The run, for the message.
            video: The video file, for the message.
            store: The store into which the video was extracted, which has no other video.

        Raises:
            VideoError: The network cannot classify this video.
        """


AnyTask = Task[Any, Any]
