"""Define the inputs of figures, `Source`, and their output, `Drawing`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from flowkit.errors import UsageError
from flowkit.flow import dequantize, flow_to_color
from flowkit.path_text import replace_surrogates
from train.evaluation.results import load_run_scores, read_results, read_testing
from train.evaluation.scores import Scores
from train.report.figures.score_names import (
    check_score,
    choose_default_score,
    list_score_names,
)
from train.runs.phases import Phase, list_phases
from train.runs.run import Run, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowkit.store import Store

AveragedValues = Literal["logits", "softmax"]
TEXT_COLOUR = "#222222"
ACCENTS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#777777")
"""Colours of series: blue, orange, green, pink, light blue, grey. People who are colour-blind can
tell the first five apart (Okabe and Ito 2008, "Color Universal Design")."""
MARKERS = ("o", "s", "^", "D", "v", "x")
"""Markers of series, so that they differ in print too."""


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
    score: str | None = None
    """Name of the scores to show, such as ``iter_1/rgb``; None for those of the paper's figure."""
    against_score: str | None = None
    """Name of the scores to compare with; None for those of the paper's figure."""
    phase: str | None = None
    """Name of the phase whose network or log is shown; None to let each figure choose."""
    evaluation: str | None = None
    """Name of the evaluation whose results and scores are shown; None for the default one."""
    videos: tuple[str, ...] = ()
    """Ids of the videos to show; empty to let each figure choose."""
    points: tuple[tuple[float, float], ...] = ((0.5, 0.5), (0.25, 0.3), (0.75, 0.7))
    """Query points (x, y) of attention maps, as fractions of width and height."""
    settings: Settings | None = None
    """Device, precision, processes and batch of figures that score videos. Default: one thread of
    this process on the CPU."""

    def get_averaged_values(self, run: Run | None = None) -> AveragedValues:
        """Return whether a run is evaluated on averaged logits or averaged probabilities.

        Args:
            run: The run. Default: the run of this source.
        """
        return read_testing(run or self.run, self.evaluation).over

    def scores(self, name: str, run: Run | None = None) -> Scores:
        """Load the scores of a run.

        Args:
            name: Name of the scores, such as ``iter_1/rgb``.
            run: The run. Default: the run of this source.

        Returns:
            The scores.
        """
        return load_run_scores(run or self.run, name, self.evaluation)

    def results(self, run: Run | None = None) -> dict[str, Any]:
        """Read the results that `flowkit evaluate` wrote.

        Args:
            run: The run. Default: the run of this source.

        Returns:
            The contents of ``results.json``: ``scores`` and ``costs``.

        Raises:
            RunError: If the run was not evaluated.
        """
        return read_results(run or self.run, self.evaluation)

    def best_score(self) -> str:
        """Choose the scores that represent the run, see `choose_default_score`.

        Returns:
            The name of the scores.

        Raises:
            RunError: If the run was not evaluated.
        """
        return choose_default_score(list_score_names(self.results()))

    def choose_score(self) -> str:
        """Choose the scores that figures of one score show.

        Returns:
            The name of the user's choice, or else of those that represent the run.

        Raises:
            UsageError: If the run has no such scores; the message lists those that it has.
            RunError: If the run was not evaluated.
        """
        if self.score is None:
            return self.best_score()
        return check_score(self.score, list_score_names(self.results()), self.run, "--score")

    def list_phases(self, run: Run | None = None) -> list[Phase]:
        """List the phases that the user chose: all, or the named one.

        Args:
            run: The run. Default: the run of this source.

        Returns:
            The phases in the order in which they are trained.

        Raises:
            UsageError: If the run has no such phase; the message lists those that it has.
        """
        run = run or self.run
        phases = list_phases(run.recipe)
        chosen = [phase for phase in phases if self.phase in (None, phase.name)]
        if not chosen:
            names = ", ".join(phase.name for phase in phases)
            raise UsageError(f"--phase: {run.path} has no phase {self.phase!r}; it has {names}")
        return chosen


class NotApplicable(UsageError):
    """A figure does not apply to a run, or lacks an input such as a store.

    The figure is left out, unless the user has named it. The message is a part of a sentence that
    says why: what the run lacks, or which option to give.
    """


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


def make_notice(text: str) -> "Figure":
    """Make a figure that says in words that there is nothing to draw.

    Args:
        text: A sentence.

    Returns:
        The figure.
    """
    figure, axes = make_figure(7, 1)
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, escape_dollars(text), ha="center", va="center", color=TEXT_COLOUR, wrap=True
    )
    return figure


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


def shorten_id(id: str, length: int) -> str:
    """Return the end of a video's id for a figure, after an ellipsis if the id is longer.

    The end is kept, since the beginning is often a folder that many videos share.
    """
    return escape_dollars(id if len(id) <= length else f"…{id[1 - length :]}")


def escape_dollars(text: str) -> str:
    """Escape what Matplotlib does not draw as it is: formulas between dollar signs, surrogates."""
    return replace_surrogates(text).replace("$", r"\$")


def make_label(name: str) -> str:
    """Make the label of a line from a name; legends leave out labels that start with ``_``."""
    return escape_dollars(f" {name}" if name.startswith("_") else name)


def write_beside(
    axes: Any, text: str, x: float = -0.05, y: float = 0, align: str = "baseline"
) -> None:
    """Write what a row shows upwards at the left of its first axes.

    Args:
        axes: The axes.
        text: The text.
        x: Its right side, as a fraction of the width of the axes.
        y: Its position, as a fraction of their height.
        align: What of the text is at this position, as Matplotlib's ``va``.
    """
    axes.text(x, y, text, transform=axes.transAxes, fontsize=6, rotation=90, ha="right", va=align)


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
