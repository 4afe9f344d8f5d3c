"""Learning rates over the epochs, or the steps, of a phase."""

from typing import Any

from torch.optim import Optimizer

from train.recipe.recipe import Training

FACTOR = 0.1


class Schedule:
    """Divides all rates of an optimizer by 10, after certain epochs or steps, or on a plateau.

    A plateau is there when validation accuracy was no better than the best before it for more
    than ``patience`` epochs; counting then begins anew.
    """

    def __init__(self, optimizer: Optimizer, training: Training) -> None:
        self._optimizer, self._training = optimizer, training
        self._state: dict[str, Any] = {"best": -1.0, "waited": 0}

    @property
    def rate(self) -> float:
        """Of most weights: that of the recipe, and the least, where groups have several."""
        rates: list[float] = [group["lr"] for group in self._optimizer.param_groups]
        return min(rates)

    def step(self, epoch: int, accuracy: float) -> None:
        """Epoch ``epoch`` (from 1) is over, with this validation accuracy."""
        if self._training.schedule == "steps" and epoch in self._training.steps:
            self._divide()
        if self._training.schedule != "plateau":
            return
        if accuracy > self._state["best"]:
            self._state.update(best=accuracy, waited=0)
            return
        self._state["waited"] += 1
        if self._state["waited"] > self._training.patience:
            self._state["waited"] = 0
            self._divide()

    def step_iteration(self, step: int) -> None:
        """Step ``step`` of the optimizer (from 1) is over."""
        if self._training.schedule == "iterations" and step in self._training.steps:
            self._divide()

    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state = dict(state)

    def _divide(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] *= FACTOR
