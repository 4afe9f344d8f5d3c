"""The tables of GPU results in RESULTS.md, each between a pair of markers.

    <!-- gpu speed -->
    …
    <!-- /gpu speed -->

Whatever stands between them is rewritten from ``gpu.json``; a table without measurements has one
empty row and the command that fills it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_steps.results import Results, StepResult

COMMAND = "python benchmarks/gpu.py --from build/gpu"


@dataclass(frozen=True)
class Table:
    """A table: the step that measures it, and (key, title, format) of each column."""

    step: str
    columns: tuple[tuple[str, str, str], ...]


TABLES = {
    "machine": Table("machine", (
        ("gpu", "GPU", ""), ("multiprocessors", "multiprocessors", "d"),
        ("memory_gib", "GiB", ".0f"), ("copy_tb", "copies, TB/s", ".2f"),
        ("clock_ghz", "highest clock, GHz", ".2f"), ("driver", "driver", ""),
        ("cores", "CPU cores", "d"), ("compile_seconds", "kernels compile in, s", ".1f"),
        ("clocks", "clocks, power, temperature", ""), ("versions", "versions", ""),
    )),
    "agreement": Table("agreement", (
        ("size", "size", ""), ("preset", "preset", ""), ("pairs", "pairs", "d"),
        ("mean_distance", "mean distance to numba, px (bar ≤ 0.01)", ".5f"),
        ("worst_distance", "worst pair, px", ".5f"), ("same_twice", "same bits twice", ""),
        ("same_in_any_batch", "same bits in any batch", ""),
    )),
    "speed": Table("speed", (
        ("gpu", "GPU", ""), ("size", "size", ""), ("preset", "preset", ""),
        ("batch", "batch", "d"), ("one_stream", "pairs/s, one stream", ",.0f"),
        ("two_streams", "two streams", ",.0f"), ("work", "M pixel-iterations a pair", ",.1f"),
        ("iterations", "G pixel-iterations/s", ",.1f"), ("bound", "bound, G/s", ",.0f"),
        ("clocks", "clocks, power, temperature after it", ""),
    )),
    "structure": Table("structure", (
        ("size", "size", ""), ("ours", "ours, pairs/s", ",.0f"),
        ("launches", "one pair, two launches an iteration", ",.1f"),
        ("ratio", "ratio (bar ≥ 20)", ",.1f"), ("distance", "distance, px", ".4f"),
        ("opencv_cuda", "opencv-cuda, pairs/s", ",.1f"), ("opencv_ratio", "ratio", ",.1f"),
        ("obstacle", "why not opencv-cuda", ""),
    )),
    "accuracy": Table("accuracy", (
        ("sequence", "sequence", ""), ("preset", "preset", ""), ("numba", "AEE numba, px", ".4f"),
        ("triton", "AEE triton, px", ".4f"), ("ratio", "ratio (bar ≤ 1.01)", ".4f"),
    )),
    "extraction": Table("extraction", (
        ("preset", "preset", ""), ("pairs", "pairs", ",d"), ("lanes", "lanes", "d"),
        ("flow", "flow alone, pairs/s", ",.0f"), ("decode", "decoding alone", ",.0f"),
        ("encode", "encoding alone", ",.0f"), ("extraction", "extract, pairs/s", ",.0f"),
        ("ratio", "÷ flow alone (bar ≥ 0.8)", ".2f"), ("bounded_by", "bounded by", ""),
        ("waited", "GPU", ""),
    )),
    "training": Table("training", (
        ("network", "network", ""), ("images", "images a step", "d"),
        ("rate", "images/s", ",.0f"), ("peak_mib", "peak memory, MiB", ",.0f"),
    )),
    "training_ratios": Table("training", (
        ("cma", "CMA ÷ both plain branches", ".2f"),
        ("step", "flowkit's step ÷ bare loop (bar ≥ 0.95)", ".3f"),
    )),
    "cma_memory": Table("training", (
        ("fused", "CMA block, 4 × 16 × 28×28: fused, MiB", ",.0f"),
        ("materialized", "map in memory, MiB", ",.0f"), ("ratio", "ratio", ".1f"),
    )),
    "attention": Table("attention", (
        ("block", "block", ""), ("ours_ms", "ours, ms", ",.1f"), ("ours_mib", "MiB", ",.0f"),
        ("printed_ms", "as printed, ms", ",.1f"), ("printed_mib", "MiB", ",.0f"),
        ("time_ratio", "time, printed ÷ ours", ".2f"),
        ("memory_ratio", "memory, printed ÷ ours", ".2f"),
    )),
    "features": Table("features", (
        ("network", "network, precision", ""), ("batch", "batch", "d"), ("readers", "readers", "d"),
        ("stream", "stream", ""), ("extraction", "extraction, features/s", ",.0f"),
        ("alone", "network alone", ",.0f"), ("ratio", "ratio (bar ≥ 0.8)", ".2f"),
    )),
    "feature_files": Table("features", (
        ("network", "network", ""), ("preset", "preset", ""), ("lanes", "lanes", "d"),
        ("frames", "frames", ",d"), ("rows", "rows", ",d"), ("rate", "frames/s", ",.0f"),
        ("waited", "GPU", ""),
    )),
    "tests": Table("tests", (
        ("passed", "passed", "d"), ("failed", "failed", "d"), ("skipped", "skipped", "d"),
        ("reasons", "why skipped", ""),
    )),
}  # fmt: skip


def render_table(name: str, results: Results) -> str:
    """Render one table in Markdown, with a line that says when and how it was measured."""
    table = TABLES[name]
    result = results.steps.get(table.step)
    rows = result.tables.get(name, []) if result is not None else []
    keys = [key for key, _, _ in table.columns]
    lines = [
        "| " + " | ".join(title for _, title, _ in table.columns) + " |",
        "|" + "---|" * len(keys),
    ]
    for row in rows:
        cells = [format_cell(row.get(key), spec) for key, _, spec in table.columns]
        lines.append("| " + " | ".join(cells) + " |")
    if not rows:
        lines.append("|" + " |" * len(keys))
    return "\n".join([*lines, "", describe_result(table.step, result, bool(rows))])


def format_cell(value: Any, spec: str) -> str:
    """Format one value; None is an empty cell, and a bar would end one."""
    if value is None:
        return ""
    return format(value, spec).replace("|", "\\|")


def describe_result(step: str, result: StepResult | None, measured: bool) -> str:
    """Say when a table was measured, or what to run, and what failed."""
    command = f"`{COMMAND} --only {step}`"
    if result is None:
        return f"Not measured yet: {command}."
    text = f"{command}, {result.time}." if measured else f"Not measured yet: {command}."
    failures = "".join(f"\n- {line}" for line in result.failures[:10])
    return f"{text} What failed:\n{failures}" if failures else text


def rewrite(path: Path, results: Results) -> None:
    """Rewrite all tables of a Markdown file; ValueError where a marker is missing."""
    text = path.read_text(encoding="utf-8")
    for name in TABLES:
        pattern = re.compile(f"(<!-- gpu {name} -->\n).*?(<!-- /gpu {name} -->)", re.DOTALL)
        table = render_table(name, results)
        text, count = pattern.subn(lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text)
        if count != 1:
            raise ValueError(f"{path} has {count} places for the table {name!r}, expected one")
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
