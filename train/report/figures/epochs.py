"""Draw the accuracy of several runs by epoch: Fig. 4 of Attention Clusters.

Long et al., "Attention Clusters", CVPR 2018.
"""

from collections.abc import Sequence

from flowkit.errors import UsageError
from train.evaluation.scores import choose_metric
from train.recipe.recipe import FeatureSetRecipe, Sets
from train.report.figures.curves import read_epochs
from train.report.figures.drawing import (
    ACCENTS,
    MARKERS,
    Drawing,
    NotApplicable,
    Source,
    make_figure,
    make_label,
)
from train.runs.phases import Phase
from train.runs.run import Run


def draw_epochs(source: Source) -> list[Drawing]:
    """Draw the validation accuracy of a phase of each run.

    For attention clusters, the colour shows the number N of attention units, and lines of runs
    without the shifting operation are dashed.

    Args:
        source: The run, the runs to draw beside it, and the phase to draw. Default: see
            `choose_phase`.

    Returns:
        A figure, in a list.

    Raises:
        NotApplicable: There are no other runs, or a run has no finished epoch.
        UsageError: A run has no such phase, or is measured by another metric.
    """
    if not source.beside:
        raise NotApplicable("there are no runs to compare with; give --beside RUN")
    metric, title = choose_metric(source.run.recipe.labels)
    figure, axes = make_figure()
    runs = [source.run, *source.beside]
    sizes = sorted({name_size(run) for run in runs}, key=lambda size: (len(size), size))
    drawn = {}
    for index, (run, name) in enumerate(zip(runs, name_runs(runs), strict=True)):
        if choose_metric(run.recipe.labels) != (metric, title):
            raise UsageError(
                f"--beside: {run.path} is not measured by {title}, as {source.run.path} is"
            )
        phase = choose_phase(source, run)
        records = read_epochs(run, phase.name)
        if not records:
            raise NotApplicable(f"{run.path} has no finished epoch of {phase.name}")
        clusters = find_clusters(run)
        drawn[name] = phase.name
        axes.plot(
            [record["epoch"] for record in records],
            [100 * record[metric] for record in records],
            "--" if clusters and not clusters.shifting else "-",
            color=ACCENTS[sizes.index(name_size(run)) % len(ACCENTS)],
            marker=MARKERS[index % len(MARKERS)],
            ms=4,
            label=make_label(name),
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="epoch", ylabel=f"{title}, %")
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    names = dict.fromkeys(drawn.values())
    text = (
        next(iter(names)) if len(names) == 1 else "; ".join(f"{n}: {p}" for n, p in drawn.items())
    )
    caption = f"Validation accuracy ({title}) after each epoch of the phase {text}."
    return [Drawing(name="epochs", caption=caption, figure=figure)]


def choose_phase(source: Source, run: Run) -> Phase:
    """Choose the phase of a run that is drawn.

    Args:
        source: The user's choice.
        run: The run.

    Returns:
        The named phase, or else iter_1 of the first split, or the last phase of the first split.

    Raises:
        UsageError: The run has no such phase.
    """
    phases = source.list_phases(run)
    first = [phase for phase in phases if phase.split == phases[0].split]
    return next((phase for phase in first if phase.name.endswith("iter_1")), first[-1])


def find_clusters(run: Run) -> Sets | None:
    """Return the recipe's section of feature sets if a run trains attention clusters."""
    recipe = run.recipe
    if isinstance(recipe, FeatureSetRecipe) and recipe.sets.method == "clusters":
        return recipe.sets
    return None


def name_size(run: Run) -> str:
    """Return what the colour of a run shows: the number N of attention units, or its name."""
    clusters = find_clusters(run)
    if clusters is None:
        return run.path.name
    units = clusters.get_by_modality("units")
    return "/".join(str(units[modality]) for modality in clusters.streams)


def name_runs(runs: Sequence[Run]) -> list[str]:
    """Name runs in the legend; the names of those that would be the same get their folders."""
    names = [name_run(run) for run in runs]
    folders = [run.path.name for run in runs]
    if len(set(folders)) < len(runs):
        folders = [str(run.path) for run in runs]
    return [
        name
        if names.count(name) == 1
        else folder
        if name == run.path.name
        else f"{name} ({folder})"
        for run, name, folder in zip(runs, names, folders, strict=True)
    ]


def name_run(run: Run) -> str:
    """Name a run by its settings if it has attention clusters, else by its folder."""
    clusters = find_clusters(run)
    if clusters is None:
        return run.path.name
    with_or_without = "w/" if clusters.shifting else "w/o"
    return f"N = {name_size(run)}, {clusters.weighting}, {with_or_without} shifting"
