"""The small runs on motion8 that stand for those of the papers: training, tables and pictures.

`docs/draw_paper_figures.py` says how to use it. The recipes are the files beside this one.
"""

import json
import shlex
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
RUNS = Path("runs/papers")
ONE = ("--workers", 0, "--threads", 1)
"""Small networks are fastest on one thread, above all beside other processes."""
VIDEO = "clockwise/test_00004.mp4"


class PaperRun(NamedTuple):
    """A run: the recipe file in this folder, and its row."""

    recipe: str
    row: str | None = None
    on_other: bool = False
    """Whether it is trained on the other store, to which networks are transferred."""


class TableRow(NamedTuple):
    """A row of a table: what it is, the run, and a score for each column."""

    name: str
    run: str
    scores: tuple[str, ...]


TRAINED = {
    "cma": PaperRun("cma"),
    "non_local": PaperRun("cma", "non-local"),
    "cma_non_local": PaperRun("cma", "CMA behind non-local"),
    "p3d": PaperRun("p3d"),
    "p3d_2": PaperRun("p3d", "2 frames"),
    "cma_transfer": PaperRun("cma_transfer", on_other=True),
    "i3d": PaperRun("i3d"),
    "pyramid": PaperRun("pyramid"),
    "pyramid_res4": PaperRun("pyramid", "1 scale"),
    "pyramid_3": PaperRun("pyramid", "3 scales"),
    "pyramid_res2": PaperRun("pyramid", "top level res2"),
    "pyramid_res3": PaperRun("pyramid", "top level res3"),
    "pyramid_fc": PaperRun("pyramid", "top level FC"),
    "pyramid_two_streams": PaperRun("pyramid_two_streams"),
    "clusters": PaperRun("clusters"),
    "clusters_1": PaperRun("clusters", "N=1, 1"),
    "clusters_average": PaperRun("clusters", "average"),
    "clusters_other": PaperRun("clusters_other", on_other=True),
    "catnet": PaperRun("catnet"),
    "catnet_1": PaperRun("catnet", "n=1"),
    "catnet_1_sum": PaperRun("catnet", "n=1, summation"),
    "catnet_8_sum": PaperRun("catnet", "n=8, summation"),
    "catnet_transfer": PaperRun("catnet_transfer", on_other=True),
}
"""All runs, in the order in which they are trained."""
BRANCHES, ITERATION = ("rgb", "flow", "fusion"), ("iter_1/rgb", "iter_1/flow", "iter_1/fusion")
ALONE = ("iter_0/rgb", "iter_0/flow", "iter_0/fusion")
TABLES: dict[str, tuple[tuple[str, ...], tuple[TableRow, ...]]] = {
    "Cross-Modality Attention, Table 4": (("RGB", "flow", "fusion"), (
        TableRow("two streams", "cma", ALONE),
        TableRow("non-local blocks in both branches", "non_local", BRANCHES),
        TableRow("CMA", "cma", ITERATION),
        TableRow("CMA behind non-local blocks", "cma_non_local", ITERATION),
    )),
    "Cross-Modality Attention, Table 5": (("RGB", "flow", "fusion"), (
        TableRow("P3D, 2 frames", "p3d_2", ALONE),
        TableRow("P3D, 4 frames", "p3d", ALONE),
        TableRow("CMA, 2 frames", "p3d_2", ITERATION),
        TableRow("CMA, 4 frames", "p3d", ITERATION),
    )),
    "Cross-Modality Attention, Table 6": (("RGB", "flow", "fusion"), (
        TableRow("CMA", "cma_transfer", BRANCHES),
    )),
    "Pyramid attention, Table 1(a)": (("flow",), (
        TableRow("end of res2", "pyramid_res2", ("flow",)),
        TableRow("end of res3", "pyramid_res3", ("flow",)),
        TableRow("end of res4", "pyramid_res4", ("flow",)),
        TableRow("FC", "pyramid_fc", ("flow",)),
    )),
    "Pyramid attention, Table 1(b)": (("flow",), (
        TableRow("1 scale", "pyramid_res4", ("flow",)),
        TableRow("3 scales", "pyramid_3", ("flow",)),
    )),
    "Pyramid attention, Table 2(a)": (("RGB", "flow", "fusion"), (
        TableRow("pyramid attention", "pyramid_two_streams", BRANCHES),
    )),
    "Attention Clusters, Table 3": (("top-1",), (
        TableRow("N = 1 for RGB and 1 for flow", "clusters_1", ("sets",)),
        TableRow("N = 8 and 8", "clusters", ("sets",)),
    )),
    "Attention Clusters, Table 4": (("top-1",), (
        TableRow("network of the features, RGB", "p3d_2", ("iter_0/rgb",)),
        TableRow("network of the features, flow", "p3d_2", ("iter_0/flow",)),
        TableRow("average", "clusters_average", ("sets",)),
        TableRow("clusters", "clusters", ("sets",)),
    )),
    "Attention Clusters, Table 5": (("top-1",), (
        TableRow("clusters, other store", "clusters_other", ("sets",)),
    )),
    "CATNet, Table 2": (("top-1",), (
        TableRow("n = 1, concatenation", "catnet_1", ("sets",)),
        TableRow("n = 1, summation", "catnet_1_sum", ("sets",)),
        TableRow("n = 8, concatenation", "catnet", ("sets",)),
        TableRow("n = 8, summation", "catnet_8_sum", ("sets",)),
    )),
    "CATNet, Table 3": (("top-1",), (
        TableRow("I3D, the network of the clips", "i3d", ("flow",)),
        TableRow("CATNet", "catnet", ("sets",)),
    )),
    "CATNet, Table 4": (("top-1",), (
        TableRow("CATNet, other store", "catnet_transfer", ("sets",)),
    )),
}  # fmt: skip
"""The tables: columns, and rows."""
FEATURES = {
    "i3d": ("i3d", "flow"), "p3d_rgb": ("p3d_2", "rgb"), "p3d_flow": ("p3d_2", "flow"),
}  # fmt: skip
"""Features of both stores, by name: the run that computes them, and its stream."""
FIGURES: dict[str, tuple[str, list[str]]] = {
    "cma_fusion": ("cma", ["fusion"]),
    "cma_classes": ("cma", ["classes"]),
    "cma_attention": ("cma", ["attention", "--video", VIDEO]),
    "cma_against_non_local": (
        "non_local",
        ["attention", "--video", VIDEO, "--against", str(RUNS / "cma"), "--point", "0.25", "0.3"],
    ),
    "pyramid_receptive": ("pyramid", ["receptive", "--video", VIDEO]),
    "catnet_gains": ("catnet", ["gains", "--against", str(RUNS / "i3d")]),
    "catnet_accuracies": ("catnet", ["accuracies"]),
    "catnet_heaviest": (
        "catnet", ["heaviest", "--video", VIDEO, "--video", "expanding/test_00006.mp4"],
    ),
}  # fmt: skip
"""The pictures: run, figure and options of `flowkit report`."""


def train_all(store: Path, other: Path) -> None:
    """Train and evaluate all runs, and compute the features that some of them need.

    Args:
        store: The store of motion8.
        other: The other store, to which networks are transferred.
    """
    are_computed = False
    for name, run in TRAINED.items():
        if run.recipe in ("clusters", "catnet") and not are_computed:
            compute_features(store, other)
            are_computed = True
        train(name, other if run.on_other else store)


def train(name: str, store: Path) -> None:
    """Train and evaluate a run, unless that has been done."""
    recipe, row, _ = TRAINED[name]
    if (RUNS / name / "results.json").is_file():
        return
    chosen = [] if row is None else ["--row", row]
    file = FOLDER / f"{recipe}.yaml"
    run_flowkit("train", file, *chosen, "--store", store, "--run", RUNS / name, *ONE)
    run_flowkit("evaluate", RUNS / name, "--store", store, *ONE)


def compute_features(*stores: Path) -> None:
    """Compute the features of both stores; those that are there are not computed again."""
    for store in stores:
        for name, (run, stream) in FEATURES.items():
            model = ("--model", RUNS / run, "--stream", stream, "--positions", 0)
            run_flowkit("features", "--store", store, *model, "--name", name, "--workers", 0)


def format_tables() -> str:
    """Format the tables of all finished runs as Markdown, with accuracies in percent."""
    parts = []
    for title, (columns, rows) in TABLES.items():
        lines = [("", "recipe and row", *columns), ("---",) * (len(columns) + 2)]
        for row in rows:
            recipe, recipe_row, _ = TRAINED[row.run]
            source = f"`{recipe}`" + (f", `{recipe_row}`" if recipe_row else "")
            lines.append((row.name, source, *read_scores(row)))
        parts.append(f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)


def read_scores(row: TableRow) -> list[str]:
    """Read top-1, or mAP for videos with many labels, in percent; a dash if it is not measured."""
    path = RUNS / row.run / "results.json"
    scores = json.loads(path.read_text())["scores"] if path.is_file() else {}
    found = (scores.get(name) for name in row.scores)
    return ["–" if s is None else f"{100 * s.get('mAP', s.get('top1')):.0f}" for s in found]


def run_flowkit(*words: object) -> None:
    """Run a command of flowkit in this process, so that PyTorch is imported once."""
    import torch

    from flowkit.cli import main

    torch.set_flush_denormal(True)  # they slow small networks down
    line = [*map(str, words)]
    print("flowkit", shlex.join(line), flush=True)
    code = main.main(line, standalone_mode=False)
    if code:
        raise SystemExit(f"flowkit {shlex.join(line)}: exit code {code}")
