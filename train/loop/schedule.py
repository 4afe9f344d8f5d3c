"""Learning-rate schedules over the epochs or steps of a phase."""

from typing import Any

from torch.optim import Optimizer

from train.recipe.recipe import Training

FACTOR = 0.1


class Schedule:
    """Divide all learning rates of an optimizer by 10 at given epochs or steps, or on a plateau.

    A plateau is reached when validation accuracy has not exceeded its best value for more than
    ``patience`` epochs. Counting then starts again.
    """

    def __init__(self, optimizer: Optimizer, training: Training) -> None:
        self._optimizer, self._training = optimizer, training
        self._state: dict[str, Any] = {"best": -1.0, "waited": 0}

    @property
    def rate(self) -> float:
        """Return the base rate: the lowest of the parameter groups."""
        rates: list[float] = [group["lr"] for group in self._optimizer.param_groups]
        return min(rates)

    def step(self, epoch: int, accuracy: float) -> None:
        """Update the rates after an epoch.

        Args:
            epoch: The epoch that ended, from 1.
            accuracy: Its validation accuracy.
        """
        training, state = self._training, self._state
        if training.schedule == "steps" and epoch in training.steps:
            self._divide()
        elif training.schedule == "plateau":
            state["waited"] += 1
            if accuracy > state["best"]:
                state.update(best=accuracy, waited=0)
            elif state["waited"] > training.patience:
                state["waited"] = 0
                self._divide()

    def step_iteration(self, step: int) -> None:
        """Update the rates after step `step` of the optimizer, counted from 1."""
        if self._training.schedule == "iterations" and step in self._training.steps:
            self._divide()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the plateau detection."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self._state = dict(state)

    def _divide(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] *= FACTOR
