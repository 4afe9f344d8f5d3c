"""Draw accuracy over the number of frames K that a prediction uses: Du et al. 2018, Fig. 3.

The run is evaluated again for every K. Because this takes long, the figure is drawn only if it is
named.
"""

from dataclasses import replace

from flowkit.errors import UsageError
from train.evaluation.evaluate import join_name
from train.evaluation.processes import open_processes
from train.evaluation.scores import choose_metric, measure
from train.evaluation.scoring import score_phases
from train.evaluation.testing import check_test_settings
from train.recipe.recipe import ImageRecipe
from train.report.figures.drawing import ACCENTS, MARKERS, Drawing, Source, make_figure, make_label
from train.report.figures.receptive import check_pyramid
from train.report.figures.score_names import check_score
from train.runs.phases import list_scorings
from train.runs.run import Run, Settings
from train.tasks.networks import get_image_recipe

COUNTS = (1, 5, 10, 15, 20, 25, 30)
"""Values of K in testing."""


def draw_frames(source: Source) -> list[Drawing]:
    """Draw accuracy over K in testing, a line for each run and score (Fig. 3).

    Args:
        source: The run, its store, the score to show (default: all of the first split), and a run
            that was trained with another K.

    Returns:
        A figure and a table.

    Raises:
        NotApplicable: There is no store, or no pyramid attention.
        UsageError: The other run is not on images or has labels of another kind, a run has no such
            score, or the store cannot serve it.
        RunError: A run is not finished.
    """
    check_pyramid(source)
    figure, axes = make_figure()
    runs = [source.run, *([source.against] if source.against else [])]
    if not all(isinstance(run.recipe, ImageRecipe) for run in runs):
        raise UsageError(f"--against: {runs[-1].path} is not a run on images, which have frames")
    _, title = choose_metric(source.run.recipe.labels)
    if choose_metric(runs[-1].recipe.labels)[1] != title:
        raise UsageError(
            f"--against: {runs[-1].path} is not measured by {title}, as {source.run.path} is"
        )
    names = {run.path: choose_names(run, source) for run in runs}
    rows = [["K in training", "score", *map(str, COUNTS)]]
    for run in runs:
        accuracies = measure_accuracies(run, source)
        for name in names[run.path]:
            values = accuracies[name]
            trained = get_image_recipe(run).data.num_segments
            colour = ACCENTS[(len(rows) - 1) % len(ACCENTS)]
            marker = MARKERS[(len(rows) - 1) % len(MARKERS)]
            label = f"K = {trained}, {name}" + (f" ({run.path.name})" if len(runs) > 1 else "")
            axes.plot(COUNTS, values, marker=marker, ms=4, color=colour, label=make_label(label))
            rows.append([str(trained), name, *(f"{value:.1f}" for value in values)])
    axes.set(xlabel="K in testing", ylabel=f"{title}, %", xticks=COUNTS)
    axes.legend(fontsize=8, frameon=False)
    caption = f"{title} over the number of frames K that a prediction uses."
    return [
        Drawing(name="frames", caption=caption, figure=figure),
        Drawing(name="frames_table", caption=caption, rows=rows),
    ]


def choose_names(run: Run, source: Source) -> list[str]:
    """Choose the scores of a run that are drawn, before anything is computed.

    Args:
        run: The run.
        source: The store, and the scores to show of the run and of the one to compare it with.

    Raises:
        UsageError: The run has no such score in its first split, or the store does not fit it.
    """
    if source.store is not None:
        run.check_store(source.store)
    scoring, option = list_scorings(run.recipe)[0], "--score"
    chosen = source.score
    if run is not source.run and source.against_score is not None:
        chosen, option = source.against_score, "--against-score"
    branches = [*scoring.phases, *(["fusion"] if scoring.fusion is not None else [])]
    names = [join_name(scoring.name, branch) for branch in branches]
    return names if chosen is None else [check_score(chosen, names, run, option)]


def measure_accuracies(run: Run, source: Source) -> dict[str, list[float]]:
    """Measure the accuracy of a run for each K of `COUNTS`, on its first split.

    Args:
        run: The run.
        source: The store, and the device, precision, processes and batch to use.

    Returns:
        Accuracies in percent by name of the scores.
    """
    assert source.store is not None
    settings = source.settings or Settings()
    scoring, (metric, _) = list_scorings(run.recipe)[0], choose_metric(run.recipe.labels)
    accuracies: dict[str, list[float]] = {}
    with open_processes(settings) as processes:
        for count in COUNTS:
            testing = replace(run.recipe.testing, segments=count)
            changed = run.with_recipe(replace(run.recipe, testing=testing))
            check_test_settings(changed, source.store, settings)
            scores = score_phases(changed, scoring, source.store, settings, processes=processes)
            for name, value in scores.items():
                metrics = measure(value.get_averages(run.recipe.testing.over), value.labels)
                name = join_name(scoring.name, name)
                accuracies.setdefault(name, []).append(100 * metrics[metric])
    return accuracies
