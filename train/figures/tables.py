"""Accuracy per iteration and parameters: Tables 1 and 2 of Chi et al. 2019."""

from train.figures.drawing import Drawing, Source


def list_iterations(source: Source) -> list[Drawing]:
    """Table 1: top-1 / top-5 of RGB, flow and their fusion, in percent, the paper's beside."""
    scores, reported = source.results()["scores"], source.run.recipe.reported
    groups = list(dict.fromkeys(name.rpartition("/")[0] for name in scores))
    rows = [["", "RGB", "flow", "fusion", "class mean (last)", "videos"]]
    for group in groups:
        cells: list[str] = []
        last: dict[str, float] = {}
        for branch in ("rgb", "flow", "fusion"):
            name = f"{group}/{branch}" if group else branch
            row = scores.get(name)
            last = row or last
            cells.append("–" if row is None else describe(row, reported.get(name)))
        rows.append([group or "all", *cells, f"{100 * last['mean_class']:.1f}", str(last["n"])])
    caption = f"Accuracy, top-1 / top-5 in percent. In brackets: {source.run.recipe.paper}."
    return [Drawing(name="iterations", caption=caption, rows=rows)]


def describe(row: dict[str, float], paper: tuple[float, ...] | None) -> str:
    ours = f"{100 * row['top1']:.2f} / {100 * row['top5']:.2f}"
    return f"{ours} [{' / '.join(f'{value:.2f}' for value in paper)}]" if paper else ours


def list_parameters(source: Source) -> list[Drawing]:
    """Table 2: parameters that a score needs, relative to one branch, and its accuracy."""
    results = source.results()
    needs = {
        "one branch": ("iter_0/rgb", "rgb", "flow"),
        "two branches": ("iter_0/fusion", "fusion"),
    }
    rows = [["score", "parameters", "relative", "top-1", "top-5"]]
    for name, cost in results["costs"].items():
        known = (*needs.get(name, ()), name.partition(",")[0])
        row = next((results["scores"][n] for n in known if n in results["scores"]), None)
        accuracy = ["–", "–"] if row is None else [f"{100 * row[k]:.2f}" for k in ("top1", "top5")]
        rows.append([name, f"{cost['parameters']:,}", f"{cost['ratio']:.2f}×", *accuracy])
    caption = (
        "Parameters of the layers that a score needs. Blocks that are still the identity can be "
        "dropped without changing it."
    )
    return [Drawing(name="parameters", caption=caption, rows=rows)]
