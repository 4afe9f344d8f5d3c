"""All kinds of trials."""

import random
from pathlib import Path
from typing import Any

from tests.torture import commits, damage, inputs, neighbours, run_files, signals
from tests.torture.trial import Kind, Outcome


def prepare_damage(shared: Any) -> Any:
    """Make the store that is damaged, and read all of it."""
    from tests.torture import tiny_store

    template = tiny_store.make_store(shared.folder / "template")
    problems: list[str] = []
    content = damage.read_content(template, problems)
    assert not problems
    return template, content


def run_damage(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Damage one file of a store."""
    template, content = shared.get("damage")
    _, outcome.what = damage.damage_store(template, folder / "store", rng)
    outcome.problems += damage.check_damaged(folder / "store", content, rng)
    outcome.counts["mutations"] += 1


KINDS = (
    Kind("damage", "one line each, and nothing wrong unnoticed", run_damage, prepare_damage, 4, 50),
    Kind("commits", "after the next session, as if nothing had happened", commits.run_trial,
         commits.prepare, 4, 24),
    Kind("signals", "after the next run, the bytes of an undisturbed one", signals.run_trial,
         signals.prepare, 3, 4),
    Kind("ray", "the same, with workers on Ray", signals.run_ray_trial, signals.prepare_ray, 2, 0,
         240),
    Kind("videos", "extracted or refused", inputs.run_video, inputs.prepare_video, 2, 40),
    Kind("images", "extracted or refused", inputs.run_images, inputs.prepare_images, 0.5, 25),
    Kind("labels", "read or refused", inputs.run_labels, inputs.prepare_labels, 0.5, 80),
    Kind("giants", "refused without the memory that they claim", inputs.run_giant,
         inputs.prepare_giants, 0.2, 2),
    Kind("neighbours", "writers, readers and repairs at once, nothing wrong read",
         neighbours.run_trial, neighbours.prepare, 1, 3),
    Kind("runs", "a damaged run ends in one line", run_files.run_trial, run_files.prepare, 2, 40),
)  # fmt: skip
"""All kinds of trials."""
