"""What figures are made from, and what they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from train.evaluation.scores import Scores, load_scores
from train.runs.run import Run, RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowkit.store import Store

INK, ACCENTS = "#222222", ("#0b6e99", "#d9730d", "#5b8c5a", "#8e5ea2", "#b03a2e", "#777777")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run, and what some figures need beside it.

    ``store``: for pictures; ``against``: a run to compare with; ``beside``: runs to draw
    in one picture; ``videos``: ids to look at; ``points``: query points of attention maps, as
    shares (x, y) of the picture.
    """

    run: Run
    store: "Store | None" = None
    against: Run | None = None
    beside: tuple[Run, ...] = ()
    videos: tuple[str, ...] = ()
    points: tuple[tuple[float, float], ...] = ((0.5, 0.5), (0.25, 0.3), (0.75, 0.7))

    def scores(self, name: str, run: Run | None = None) -> Scores:
        """The scores of a name such as ``iter_1/rgb``."""
        return load_scores((run or self.run).path / "scores" / f"{name}.npz")

    def results(self, run: Run | None = None) -> dict[str, Any]:
        """``scores`` and ``costs`` as `flowkit evaluate` left them; RunError without."""
        path = (run or self.run).path / "results.json"
        try:
            results: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"no results at {path}; run flowkit evaluate first") from error
        return results

    def best_score(self, run: Run | None = None) -> str:
        """The name of the score that stands for a run: the last fusion, or its only score."""
        names = [n for n in self.results(run)["scores"] if not n.startswith("mean/")]
        fused = [name for name in names if name.endswith("fusion")]
        return str((fused or names)[-1])


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure or a table, with its caption. ``rows`` of a table begin with its head."""

    name: str
    caption: str
    figure: "Figure | None" = None
    rows: Sequence[Sequence[str]] = field(default=())


def make_figure(width: float = 7.0, height: float = 4.0, **options: Any) -> tuple["Figure", Any]:
    """An empty figure in the project's look, in inches, and its axes. No window is opened."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    axes = figure.subplots(**options)
    for one in axes.flat if hasattr(axes, "flat") else [axes]:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(colors=INK, labelsize=8)
    return figure, axes
