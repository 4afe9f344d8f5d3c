"""Define the inputs of figures, `Source`, and their output, `Drawing`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from flowkit.flow import dequantize, flow_to_color
from train.evaluation.scores import Scores, load_scores
from train.runs.run import Run, RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowkit.store import Store

TEXT_COLOUR, ACCENTS = "#222222", ("#0b6e99", "#d9730d", "#5b8c5a", "#8e5ea2", "#b03a2e", "#777777")


@dataclass(frozen=True, kw_only=True)
class Source:
    """The inputs of figures: a run, and what some figures need besides it."""

    run: Run
    """The evaluated run."""
    store: "Store | None" = None
    """Store of the videos, for figures that show frames."""
    against: Run | None = None
    """Run to compare with."""
    beside: tuple[Run, ...] = ()
    """Other runs to draw into the same figure."""
    videos: tuple[str, ...] = ()
    """Ids of the videos to show; empty to let each figure choose."""
    points: tuple[tuple[float, float], ...] = ((0.5, 0.5), (0.25, 0.3), (0.75, 0.7))
    """Query points (x, y) of attention maps, as fractions of width and height."""

    @property
    def averaged_values(self) -> Literal["logits", "softmax"]:
        """Return whether the run is evaluated on averaged logits or averaged probabilities."""
        return self.run.recipe.testing.over

    def scores(self, name: str, run: Run | None = None) -> Scores:
        """Load the scores of a run.

        Args:
            name: Name of the scores, such as ``iter_1/rgb``.
            run: The run. Default: the run of this source.

        Returns:
            The scores.
        """
        return load_scores((run or self.run).path / "scores" / f"{name}.npz")

    def results(self, run: Run | None = None) -> dict[str, Any]:
        """Read the results that `flowkit evaluate` wrote.

        Args:
            run: The run. Default: the run of this source.

        Returns:
            The contents of ``results.json``: ``scores`` and ``costs``.

        Raises:
            RunError: If the run was not evaluated.
        """
        path = (run or self.run).path / "results.json"
        try:
            results: dict[str, Any] = json.loads(path.read_bytes())
            if not all(isinstance(v, dict) for v in (results, results["scores"])):
                raise ValueError("no scores")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"no results at {path}; run flowkit evaluate first") from error
        return results

    def best_score(self, run: Run | None = None) -> str:
        """Choose the scores that represent a run.

        Args:
            run: The run. Default: the run of this source.

        Returns:
            The name of its last fusion, or of its last scores if there is no fusion.

        Raises:
            RunError: If the run was not evaluated.
        """
        names = [name for name in self.results(run)["scores"] if not name.startswith("mean/")]
        fused = [name for name in names if name.endswith("fusion")]
        return str((fused or names)[-1])


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure or a table, with its caption."""

    name: str
    """Name of the file, without its extension."""
    caption: str
    """Caption in whole sentences."""
    figure: "Figure | None" = None
    """The figure; None for a table."""
    rows: Sequence[Sequence[str]] = field(default=())
    """Rows of the table, starting with its header; empty for a figure."""


def make_figure(width: float = 7.0, height: float = 4.0, **options: Any) -> tuple["Figure", Any]:
    """Make an empty figure in the style of the report, without opening a window.

    Args:
        width: Width in inches.
        height: Height in inches.
        options: Arguments of ``Figure.subplots``.

    Returns:
        The figure, and its axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    axes = figure.subplots(**options)
    for subplot in axes.flat if hasattr(axes, "flat") else [axes]:
        subplot.spines[["top", "right"]].set_visible(False)
        subplot.tick_params(colors=TEXT_COLOUR, labelsize=8)
    return figure, axes


def make_grid(
    rows: int, columns: int, width: float = 1.7, height: float = 1.8
) -> tuple["Figure", Any]:
    """Make an empty figure for a grid of images.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        width: Width of an image in inches.
        height: Height of an image in inches.

    Returns:
        The figure, and its axes (rows, columns), which show no ticks.
    """
    figure, axes = make_figure(
        width * columns, height * rows, nrows=rows, ncols=columns, squeeze=False
    )
    for subplot in axes.flat:
        subplot.set_axis_off()
    return figure, axes


def draw_image(image: torch.Tensor, bound: float) -> npt.NDArray[np.uint8]:
    """Draw an RGB frame, or the first flow field of a stack in colours.

    Args:
        image: (C, H, W) uint8 image: RGB, or quantized x and y of flow fields.
        bound: Bound of the store's flow in pixels.

    Returns:
        (H, W, 3) uint8 image.
    """
    planes: npt.NDArray[np.uint8] = image.permute(1, 2, 0).numpy()
    return planes if planes.shape[2] == 3 else flow_to_color(dequantize(planes[..., :2], bound))
