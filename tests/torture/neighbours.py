"""Trials: two writers, readers, a check and a removal or repair of one store at the same time."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowkit.errors import CorruptError, StoreError
from flowkit.store import Store, create_or_open, hold_store, rebuild_index, recover
from flowkit.store.integrity.verify import verify
from tests.torture import commits, tiny_store
from tests.torture.tiny_store import IDS, RECIPE, Content, read_video
from tests.torture.trial import REFUSED, Outcome, describe_end, fork, wait

SECONDS = 1.0
"""How long readers read."""


def prepare(shared: Any) -> Content:
    """Make the store that results, and read it."""
    folder = shared.folder / "neighbours"
    folder.mkdir()
    commits.fill(folder / "store")
    return commits.read_content(folder / "store", [])


def write_half(root: Path, half: int) -> None:
    """Write every other video, as one of two jobs of a batch system."""
    ids = IDS[half::2]
    with hold_store(root, (half, 2)):
        recover(root, part=(half, 2), wait_seconds=0)
        for id in ids:
            tiny_store.write_frames(root, (id,), part=(half, 2))
            rebuild_index(root)
            time.sleep(0.02)


def read_all(root: Path, expected: Content, until: float, damaged: str = "") -> None:
    """Open the store again and again; everything in it but a damaged video must be right."""
    while time.monotonic() < until:
        try:
            store = Store(root)
            for id in store:
                if id == damaged:
                    continue
                found = read_video(store, id)
                wrong = [k for k, v in found.items() if k[-5:] != "facts" and expected[k] != v]
                if wrong:
                    raise AssertionError(f"read wrongly: {wrong}")
        except CorruptError as error:
            # A shard that was removed or repaired since the store was opened.
            if "found no file" not in str(error):
                raise
        except StoreError as error:
            if "expected an index" not in str(error) and "rebuilt" not in str(error):
                raise


def check_all(root: Path, until: float) -> None:
    """Verify the store again and again; what is being written is no damage."""
    while time.monotonic() < until:
        report = verify(root)
        if not report.clean:
            raise AssertionError(f"verify: {[str(problem) for problem in report.problems]}")
        time.sleep(0.01)


def run_trial(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Run several processes on one store."""
    expected: Content = shared.get("neighbours")
    root = folder / "store"
    until = time.monotonic() + SECONDS
    kind = rng.choice(("write", "write", "collide", "remove", "repair"))
    outcome.what = kind
    works: list[Callable[[], Any]] = [lambda: read_all(root, expected, until)] * 2
    if kind == "write":
        create_or_open(root, RECIPE, "tiny")
        works += [lambda: write_half(root, 0), lambda: write_half(root, 1)]
        works += [lambda: check_all(root, until)]
    elif kind == "collide":  # one of them is refused, or both come one after the other
        create_or_open(root, RECIPE, "tiny")
        works += [lambda: commits.fill(root), lambda: commits.fill(root)]
    else:
        commits.fill(root)
        if kind == "repair":
            commits.damage_shard(root)
            works = [lambda: read_all(root, expected, until, IDS[0])] * 2
            works.append(lambda: commits.repair(root))
        else:
            works.append(lambda: commits.remove(root))
    processes = []
    for number, work in enumerate(works):
        log = folder / f"log{number}"
        processes.append((fork(work, log), log))
        time.sleep(rng.random() * 0.02)
    for process, log in processes:
        end = describe_end(wait(process), log, {0, REFUSED})
        if end:
            outcome.problems.append(end)
        text = log.read_text(errors="replace") if log.exists() else ""
        if "refused" in text and "is writing" not in text:
            outcome.problems.append(text)
    outcome.counts["faults"] += 1
    commits.fill(root)
    commits.check_after(root, expected, outcome)
