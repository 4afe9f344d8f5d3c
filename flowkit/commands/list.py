"""Define `flowkit list`, which lists the videos of a store."""

from pathlib import Path
from typing import Any

import click

from flowkit.commands.options import store_argument
from flowkit.path_text import argument_to_text, escape_unprintable

SHOWN_NAMES = 3
"""Number of classes and subsets of a video that the table shows; JSON has all."""
NUMBER_HEADS = ("frames", "fps", "seconds", "size", "motion", "p95", "warnings")
TEXT_HEADS = ("subset", "class", "id")


@click.command("list")
@store_argument
@click.option("--where", metavar="CONDITIONS", type=argument_to_text,
              help="List only videos that meet conditions such as \"motion<0.1 and frames>=64\": "
              "<, <=, >, >=, = or != of id, class, subset, frames, fps, duration, width, height, "
              "motion, p95 or warnings, joined by `and`.")  # fmt: skip
@click.option("--class", "class_name", metavar="NAME", type=argument_to_text,
              help="List only videos of this class.")  # fmt: skip
@click.option("--subset", metavar="NAME", type=argument_to_text,
              help="List only videos of this subset.")  # fmt: skip
@click.option("--sort", type=click.Choice(["id", "motion", "frames", "fps", "duration"]),
              default="id", show_default=True,
              help="Column to sort by, smallest first; unknown values come last.")  # fmt: skip
@click.option("--descending", is_flag=True, help="Sort by the largest first.")
@click.option("--limit", type=click.IntRange(1), help="List at most this many videos.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with a line per video.")
def list_videos(
    store: Path,
    where: str | None,
    class_name: str | None,
    subset: str | None,
    sort: str,
    descending: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the videos of STORE with class, subset, length, size and motion.

    Motion is the mean length of the flow in pixels, and p95 its 95th percentile. Both are unknown
    for a video without flow and in stores of older versions.

    \b
    flowkit list S --sort motion --limit 20
    flowkit list S --where 'motion<0.1' --json
    flowkit list S --where "duration>10 and width!=256" --class Archery
    """
    from flowkit.store.conditions import Condition, parse_conditions
    from flowkit.store.video_list import VideoList

    conditions = [] if where is None else parse_conditions(where)
    for column, name in (("class", class_name), ("subset", subset)):
        conditions += [] if name is None else [Condition(column, "=", name)]
    videos = VideoList(store)
    rows = videos.select(conditions, sort=sort, descending=descending, limit=limit)
    described = videos.describe(rows)
    if as_json:
        print_json_lines(described)
        return
    print_videos(described)
    counted = f"{len(described):,} of {len(videos):,} videos"
    named = {sort, *(condition.column for condition in conditions)}
    unknown = int((videos.read_numbers("motion") != videos.read_numbers("motion")).sum())
    if named & {"motion", "p95"} and unknown:
        counted += f"; the motion of {unknown:,} is unknown"
    click.echo(counted, err=True)


def print_json_lines(videos: list[dict[str, Any]]) -> None:
    """Print a JSON list, one video per line."""
    import json

    click.echo("[" + ",\n".join(json.dumps(video) for video in videos) + "]")


def print_videos(videos: list[dict[str, Any]]) -> None:
    """Print a table with one line per video; ids are last, since their lengths differ most."""
    lines = [list(NUMBER_HEADS + TEXT_HEADS), *map(make_cells, videos)]
    widths = [max(map(measure_width, column)) for column in zip(*lines, strict=True)]
    texts = []
    for line in lines:
        cells = []
        for column, (text, width) in enumerate(zip(line, widths, strict=True)):
            blanks = " " * (width - measure_width(text))
            cells.append(blanks + text if column < len(NUMBER_HEADS) else text + blanks)
        texts.append("  ".join(cells).rstrip())
    click.echo("\n".join(texts))


def measure_width(text: str) -> int:
    """Return how many columns of a terminal a text takes; some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def make_cells(video: dict[str, Any]) -> list[str]:
    """Make the texts of one line of the table; an unknown number is a dash."""
    measures = {
        name: "-" if video[name] is None else f"{video[name]:.{digits}f}"
        for name, digits in (("duration", 2), ("motion", 3), ("p95", 3))
    }
    numbers = [
        str(video["frames"]), f"{video['fps']:.4g}", measures["duration"],
        f"{video['width']}x{video['height']}", measures["motion"], measures["p95"],
        str(video["warnings"]),
    ]  # fmt: skip
    return [*numbers, join_names(video["subsets"]), join_names(video["classes"]),
            escape_unprintable(video["id"])]  # fmt: skip


def join_names(names: list[str]) -> str:
    """Join the first names by commas, and count the others; a dash if there are none."""
    more = f" +{len(names) - SHOWN_NAMES}" if len(names) > SHOWN_NAMES else ""
    return escape_unprintable(", ".join(names[:SHOWN_NAMES]) + more) or "-"
