"""Trials: a process that changes a store dies, or its disk fails, at any write, sync or rename.

A session is a function that continues where an earlier one ended, as a user's command does. After
each fault the store is opened: all that was committed before is there, and right. After one more
session without faults, the store holds what it would hold had nothing happened, byte for byte.
"""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from flowkit.errors import UsageError
from flowkit.store import (
    Failure,
    ShardWriter,
    Store,
    append_failure,
    create_or_open,
    hold_store,
    read_failures,
    rebuild_index,
    recover,
    split_store,
    write_annotations,
)
from flowkit.store.integrity.verify import verify
from flowkit.store.removal import remove_features
from tests.torture import tiny_store
from tests.torture.damage import read_content
from tests.torture.faults import KILLED, Fault, FaultLayer
from tests.torture.tiny_store import IDS, RECIPE, Content
from tests.torture.trial import REFUSED, Outcome, describe_end, fork, wait


def fill(root: Path) -> None:
    """Write what the store lacks, as an extraction does."""
    create_or_open(root, RECIPE, "tiny")
    with hold_store(root):
        recover(root, wait_seconds=0)
        write_annotations(root, tiny_store.make_annotations())
        rebuild_index(root)
        store = Store(root)
        missing = {
            stream: [id for id in IDS if id not in store or stream not in store[id].streams]
            for stream in ("rgb", "audio", "features/net")
        }
        tiny_store.write_frames(root, tuple(missing["rgb"]))
        audio, net = (ShardWriter(root, name, recipe=RECIPE) for name in ("audio", "features/net"))
        for id in missing["audio"]:
            tiny_store.put_audio(audio, id, IDS.index(id) % 2)
        for id in missing["features/net"]:
            tiny_store.put_features(net, id, IDS.index(id), 2 + IDS.index(id))
        audio.close()
        net.close()
        if "gone" not in read_failures(root):
            append_failure(root, Failure("gone", "gone.mp4", "broken", "it is", 1, time.time()))
        rebuild_index(root)


def repair(root: Path) -> None:
    """Repair the store, and write again what was lost."""
    verify(root, repair=True)
    fill(root)


def remove(root: Path) -> None:
    """Remove the features."""
    try:
        remove_features(root, "net")
    except UsageError as error:
        if "expected features that it has" not in str(error):
            raise


def divide(root: Path) -> None:
    """Divide the videos into subsets."""
    split_store(root, {"train": 0.5, "test": 0.5}, overwrite=True)


SESSIONS: dict[str, Callable[[Path], None]] = {
    "fill": fill, "repair": repair, "remove": remove, "divide": divide
}  # fmt: skip


class Commits:
    """The store before each session, what it holds after it, and how many steps that takes."""

    def __init__(self, folder: Path) -> None:
        self.before: dict[str, Path] = {}
        self.steps: dict[str, int] = {}
        self.after: dict[str, Content] = {}
        self.folder = folder
        for name, session in SESSIONS.items():
            root = self.before[name] = folder / f"before-{name}"
            if name == "fill":
                create_or_open(root, RECIPE, "tiny")
            else:
                fill(root)
            if name == "repair":
                damage_shard(root)
            done = folder / f"after-{name}"
            shutil.copytree(root, done)
            self.steps[name] = count_steps(session, done)
            problems: list[str] = []
            self.after[name] = read_content(done, problems)
            assert not problems and verify(done, deep=True).clean, problems


def damage_shard(root: Path) -> None:
    """Change one byte of an image, and leave a shard that is half written."""
    shard = min(root.glob("frames/*.arrow"), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    image = tiny_store.draw_jpegs(0, 3)[0][0]
    at = data.find(image)
    data[(at if at >= 0 else len(data) // 2) + 9] ^= 4
    shard.write_bytes(bytes(data))


def count_steps(session: Callable[[Path], None], root: Path) -> int:
    """Run a session without a fault in a forked process, and count its steps."""
    note = root.with_name(f"{root.name}.steps")

    def work() -> None:
        layer = FaultLayer(root, "none", 10**9, random.Random(0))
        layer.install()
        session(root)
        with layer._open(note, "w") as file:
            file.write(str(layer.steps))

    log = root.with_name(f"{root.name}.log")
    end = describe_end(wait(fork(work, log), 120), log, {0})
    assert end is None, end
    return int(note.read_text())


def prepare(shared: Any) -> Commits:
    """Make the stores before and after each session."""
    folder = shared.folder / "commits"
    folder.mkdir()
    return Commits(folder)


def run_session(
    name: str, root: Path, fault: Fault, step: int, seed: str, outcome: Outcome
) -> bool:
    """Run a session with a fault in a forked process; return whether it ran to its end."""

    def work() -> None:
        FaultLayer(root, fault, step, random.Random(seed)).install()
        SESSIONS[name](root)

    log = root.with_name(f"log-{fault}-{step}")
    code = wait(fork(work, log))
    end = describe_end(code, log, {0, KILLED, REFUSED})
    if end is not None:
        outcome.problems.append(end)
    text = log.read_text(errors="replace")
    if code == REFUSED and fault == "full" and "isk full" not in text:
        outcome.problems.append(f"a full disk is called: {text}")
    counted = {"exit": "fork kills", "torn": "fork kills", "power": "power cuts"}.get(
        fault, "faults"
    )
    outcome.counts[counted] += code == KILLED if "k" in counted[-5:] or fault == "power" else 1
    return code == 0


def run_trial(shared: Any, folder: Path, rng: random.Random, outcome: Outcome) -> None:
    """Interrupt a session once or several times, and complete it."""
    commits: Commits = shared.get("commits")
    name = rng.choice(list(SESSIONS))
    root = folder / "store"
    shutil.copytree(commits.before[name], root)
    faults = rng.choices(
        [f for f in get_args(Fault) if f != "none"], (3, 3, 3, 2, 1, 1), k=rng.choice((1, 2, 3))
    )
    expected = commits.after[name]
    done: Content = {}
    outcome.what = name
    for fault in faults:
        step = rng.randrange(commits.steps[name])
        outcome.what += f", {fault} at step {step} of {commits.steps[name]}"
        run_session(name, root, fault, step, f"{rng.random()}", outcome)
        if rng.random() < 0.2:
            shift_times(root, rng)
        done = check_between(root, expected, done, name, outcome)
    run_session(name, root, "none", 10**9, "", outcome)
    check_after(root, expected, outcome)


def shift_times(root: Path, rng: random.Random) -> None:
    """Change the times of some files by up to a day, as a copy or a wrong clock does."""
    for path in tiny_store.list_files(root):
        if rng.random() < 0.5:
            seconds = path.stat().st_mtime + rng.uniform(-86400, 86400)
            os.utime(path, (seconds, seconds))


def check_between(
    root: Path, expected: Content, done: Content, name: str, outcome: Outcome
) -> Content:
    """Check a store after a fault: nothing is wrong, and nothing that counted is lost."""
    if name in ("repair", "remove", "divide"):
        return {}
    copy = root.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy)
    if not (copy / "store.json").exists():
        return {}
    rebuild_index(copy)
    content = read_content(copy, outcome.problems)
    content = {what: value for what, value in content.items() if not what.endswith(" facts")}
    wrong = [what for what, value in content.items() if expected.get(what) != value]
    lost = done.keys() - content.keys()
    if wrong or lost:
        outcome.problems.append(f"after a fault, wrong: {wrong}, lost: {sorted(lost)}")
    return content


def check_after(root: Path, expected: Content, outcome: Outcome) -> None:
    """Check that a store is as if nothing had happened."""
    content = read_content(root, outcome.problems)
    if content != expected:
        names = sorted({k for k in content | expected if content.get(k) != expected.get(k)})
        outcome.problems.append(f"not as if nothing had happened: {names}")
    report = verify(root, deep=True, workers=1)
    if not report.clean:
        outcome.problems.append(f"verify: {[str(p) for p in report.problems]}")
    left = [
        p.name for p in root.rglob("*") if p.suffix in (".part", ".salvage") and p.stat().st_size
    ]
    left = [name for name in left if not name.startswith("store.json")]
    if left:
        outcome.problems.append(f"left behind: {left}")
