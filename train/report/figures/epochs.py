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
        A figure, in a list; an empty list without other runs.
    """
    if not source.beside:
        return []
    metric, title = choose_metric(source.run.recipe.labels)
    figure, axes = make_figure()
    runs = [source.run, *source.beside]
    sizes = sorted({name_size(run) for run in runs}, key=lambda size: (len(size), size))
    for run in runs:
        phase = list_phases(run.recipe)[-1]
        records = read_lines(run.folder(phase.name) / "epochs.jsonl")
        clusters = find_clusters(run)
        axes.plot(
            [record["epoch"] for record in records],
            [100 * record[metric] for record in records],
            "--" if clusters and not clusters.shifting else "-",
            color=ACCENTS[sizes.index(name_size(run)) % len(ACCENTS)],
            label=name_run(run),
        )
    axes.set(xlabel="epoch", ylabel=f"{title}, %")
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    caption = "Validation accuracy after each epoch."
    return [Drawing(name="epochs", caption=caption, figure=figure)]


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


def name_run(run: Run) -> str:
    """Name a run in the legend."""
    clusters = find_clusters(run)
    if clusters is None:
        return run.path.name
    with_or_without = "w/" if clusters.shifting else "w/o"
    return f"N = {name_size(run)}, {clusters.weighting}, {with_or_without} shifting"
