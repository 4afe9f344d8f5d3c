"""Draw the accuracy of several runs by epoch: Fig. 4 of Attention Clusters.

Long et al., "Attention Clusters", CVPR 2018.
"""

from train.evaluation.scores import choose_metric
from train.recipe.recipe import FeatureSetRecipe, Sets
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.journal import read_lines
from train.runs.phases import list_phases
from train.runs.run import Run


def draw_epochs(source: Source) -> list[Drawing]:
    """Draw the validation accuracy of the last phase of each run.

    For attention clusters, the colour shows the number N of attention units, and lines of runs
    without the shifting operation are dashed.

    Args:
        source: The run, and the runs to draw beside it.

    Returns:
        A figure; nothing without other runs.
    """
    if not source.beside:
        return []
    key, title = choose_metric(source.run.recipe.labels)
    figure, axes = make_figure()
    runs = [source.run, *source.beside]
    sizes = sorted({name_size(run) for run in runs}, key=lambda size: (len(size), size))
    for run in runs:
        phase = list_phases(run.recipe)[-1]
        lines = read_lines(run.folder(phase.name) / "epochs.jsonl")
        sets = find_sets(run)
        shifting = sets is None or sets.shifting
        axes.plot(
            [line["epoch"] for line in lines],
            [100 * line[key] for line in lines],
            "-" if shifting else "--",
            color=ACCENTS[sizes.index(name_size(run)) % len(ACCENTS)],
            label=name_run(run),
        )
    axes.set(xlabel="epoch", ylabel=f"{title}, %")
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    caption = "Validation accuracy after each epoch."
    return [Drawing(name="epochs", caption=caption, figure=figure)]


def find_sets(run: Run) -> Sets | None:
    """Return the section of feature sets of a run's recipe, or None if it has none."""
    return run.recipe.sets if isinstance(run.recipe, FeatureSetRecipe) else None


def name_size(run: Run) -> str:
    """Name what the colour of a run shows: the number N of attention units, or its name."""
    sets = find_sets(run)
    if sets is None or sets.method != "clusters":
        return run.path.name
    units = sets.get_by_modality("units")
    return "/".join(str(units[modality]) for modality in sets.streams)


def name_run(run: Run) -> str:
    """Name a run in the legend."""
    sets = find_sets(run)
    if sets is None or sets.method != "clusters":
        return run.path.name
    with_or_without = "w/" if sets.shifting else "w/o"
    return f"N = {name_size(run)}, {sets.weighting}, {with_or_without} shifting"
