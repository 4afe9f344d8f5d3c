"""Trials: one file of a store is damaged, and everything that reads the store is called.

Every call ends normally or in one line; what a reader gives is what was stored, or `verify` has
found a problem; a repair brings back what is intact.
"""

import random
from pathlib import Path
from typing import Any

from flowkit.store import Store, rebuild_index
from flowkit.store.integrity.verify import verify
from tests.torture import tiny_store
from tests.torture.mutations import mutate_file
from tests.torture.tiny_store import Content, list_files, open_views, read_video, refuse_others


def read_content(root: Path, problems: list[str]) -> Content:
    """Read every video; what cannot be read must be refused in one line."""
    content: Content = {}
    with refuse_others("Store", problems):
        store = Store(root)
        for id in list_ids(store, problems):
            with refuse_others(f"reading {id!a}", problems):
                content |= read_video(store, id)
    return content


def list_ids(store: Store, problems: list[str]) -> list[str]:
    """List the ids of a store that may be damaged."""
    with refuse_others("ids", problems):
        return [store.ids[row] for row in range(len(store))]
    return []


def damage_store(template: Path, root: Path, rng: random.Random, path: Path | None = None) -> Any:
    """Damage one file of a copy of a store; return what was wrong, and what was done.

    Args:
        template: The undamaged store.
        root: Where the copy is made.
        rng: Decides everything.
        path: The file to damage, relative to the store; None for any.
    """
    tiny_store.copy_store(template, root)
    files = list_files(root)
    target = root / path if path else rng.choice(files)
    others = [p for p in files if p.suffix == target.suffix and p != target]
    what = f"{target.relative_to(root)}: {mutate_file(target, rng, others)}"
    return target, what


def check_damaged(root: Path, expected: Content, rng: random.Random) -> list[str]:
    """Call everything that reads or repairs a damaged store; return what is wrong."""
    problems: list[str] = []
    for name, look in open_views(root).items():
        with refuse_others(name, problems):
            look()
    content = read_content(root, problems)
    wrong = [what for what, value in content.items() if expected.get(what) != value]
    report = None
    with refuse_others("verify", problems):
        report = verify(root)
    if report is None:
        return problems
    if wrong and report.clean:
        problems.append(f"wrong and not noticed: {wrong}")
    depth = rng.random()
    if depth < 0.3:
        with refuse_others("verify --deep", problems):
            verify(root, deep=True, workers=1)
    elif depth < 0.6:
        with refuse_others("index", problems):
            rebuild_index(root)
    if depth < 0.4:
        return problems
    with refuse_others("repair", problems):
        verify(root, repair=True)
        again = verify(root)
        content = read_content(root, problems)
        wrong = [what for what, value in content.items() if not is_kept(what, value, expected)]
        if again.clean and wrong:
            problems.append(f"wrong after the repair: {wrong}")
        if not again.clean and not is_left(again):
            problems.append(f"not repaired: {[str(p) for p in again.problems]}")
    return problems


def is_kept(what: str, value: Any, expected: Content) -> bool:
    """Whether a repair kept something; labels and streams may be fewer."""
    return value == expected.get(what) or what.endswith(" facts")


def is_left(report: Any) -> bool:
    """Whether only the user can repair what is left: annotations, or a file of another version."""
    return all(
        any(word in problem.what for word in ("annotations.arrow", "newer", "recipe"))
        for problem in report.problems
    )
