"""Run trials in forked processes, with a time limit for each, and collect what they find.

A chunk of trials shares a process. If the process dies or hangs, that is a finding about the trial
that it was at, and the next chunk begins after it.
"""

import os
import random
import select
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.torture.trial import Kind, Outcome, Unavailable, from_json, to_json

CHUNK_SECONDS = 4.0
"""Seconds after which a chunk ends, so that kinds take turns."""


class SharedData:
    """What trials share: a folder, and what each kind has prepared in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prepared: dict[str, Any] = {}

    def prepare(self, kind: Kind) -> None:
        """Prepare a kind of trials, once."""
        if kind.name not in self._prepared:
            self._prepared[kind.name] = kind.prepare(self)

    def get(self, name: str) -> Any:
        """Return what a kind has prepared."""
        return self._prepared[name]

    @cached_property
    def clips(self) -> list[Path]:
        """Return four small videos."""
        from tests.conftest import write_clip

        folder = self.folder / "clips"
        return [
            write_clip(folder / f"{n}.mp4", frames=4 + n, width=32, height=32, seed=n)
            for n in range(4)
        ]


@dataclass
class Tally:
    """What was done and found by the trials of one kind."""

    trials: int = 0
    """Number of trials."""
    seconds: float = 0.0
    """Time that they took."""
    counts: Counter[str] = field(default_factory=Counter)
    """Kills, mutations and faults."""
    findings: list[str] = field(default_factory=list)
    """One text for each trial in which an invariant did not hold."""


def run_trial(shared: SharedData, kind: Kind, seed: int, number: int) -> Outcome:
    """Run one trial in this process."""
    outcome = Outcome()
    folder = shared.folder / f"{kind.name}-{number}"
    folder.mkdir()
    try:
        kind.run(shared, folder, random.Random(f"{seed}/{kind.name}/{number}"), outcome)
    except Exception:  # noqa: BLE001 (that is a finding)
        outcome.problems.append(traceback.format_exc()[-1500:])
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


@dataclass
class Chunk:
    """A process that runs trials of one kind."""

    kind: Kind
    """The kind of the trials."""
    process: int
    """Its id."""
    pipe: int
    """Where it writes a line for each trial."""
    number: int
    """The trial that it is at."""
    last: int
    """The trial after its last one."""
    heard: float
    """When it wrote its last line."""
    pending: bytes = b""
    """The beginning of its next line."""


class Runner:
    """Runs trials, several processes at a time.

    Args:
        shared: What trials share.
        kinds: The kinds of trials.
        seed: Decides all trials.
        log: Called with each finding.

    Attributes:
        tallies: What was done and found, by kind.
        skipped: Why kinds were left out.
    """

    def __init__(
        self, shared: SharedData, kinds: Sequence[Kind], seed: int, log: Callable[[str], None]
    ) -> None:
        self.shared, self.kinds, self.seed, self.log = shared, kinds, seed, log
        self.tallies = {kind.name: Tally() for kind in kinds}
        self._next = dict.fromkeys(self.tallies, 0)
        self.skipped: dict[str, str] = {}

    def run(
        self, minutes: float | None = None, jobs: int = 2, counts: dict[str, int] | None = None
    ) -> None:
        """Run trials for some minutes, or so many of each kind."""
        started = time.monotonic()
        chunks: list[Chunk] = []
        while True:
            is_over = minutes is not None and time.monotonic() - started > minutes * 60
            while not is_over and len(chunks) < jobs and (kind := self._choose(counts, chunks)):
                if chunk := self._start(kind, counts):
                    chunks.append(chunk)
            if not chunks:
                return
            select.select([chunk.pipe for chunk in chunks], [], [], 0.2)
            chunks = [chunk for chunk in chunks if self._listen(chunk)]

    def _choose(self, counts: dict[str, int] | None, chunks: list[Chunk]) -> Kind | None:
        """Choose the kind that has had the least time for its weight."""
        busy = {chunk.kind.name for chunk in chunks}
        open_kinds = [
            kind
            for kind in self.kinds
            if kind.name not in self.skipped
            and kind.name not in busy
            and (counts is None or self._next[kind.name] < counts.get(kind.name, kind.short))
        ]
        return min(open_kinds, key=lambda k: self.tallies[k.name].seconds / k.weight, default=None)

    def _start(self, kind: Kind, counts: dict[str, int] | None) -> Chunk | None:
        try:
            self.shared.prepare(kind)
        except Unavailable as error:
            self.skipped[kind.name] = str(error)
            return None
        except Exception:  # noqa: BLE001 (that is a finding)
            self.skipped[kind.name] = "it could not be prepared"
            self._add(kind, -1, Outcome("preparing", [traceback.format_exc()[-1500:]]), 0.0)
            return None
        first = self._next[kind.name]
        last = first + 10**6 if counts is None else counts.get(kind.name, kind.short)
        reader, writer = os.pipe()
        process = os.fork()
        if not process:
            os.setpgid(0, 0)
            os.close(reader)
            until = time.monotonic() + CHUNK_SECONDS
            for number in range(first, last):
                outcome = run_trial(self.shared, kind, self.seed, number)
                data = to_json(outcome).encode() + b"\n"
                while data:
                    data = data[os.write(writer, data) :]
                if time.monotonic() > until:
                    break
            os._exit(0)
        os.close(writer)
        return Chunk(kind, process, reader, first, last, time.monotonic())

    def _listen(self, chunk: Chunk) -> bool:
        """Hear what a chunk has to say; return whether it goes on."""
        now = time.monotonic()
        if select.select([chunk.pipe], [], [], 0)[0]:
            data = os.read(chunk.pipe, 1 << 16)
            if not data:
                return self._end(chunk)
            *lines, chunk.pending = (chunk.pending + data).split(b"\n")
            for line in lines:
                self._add(chunk.kind, chunk.number, from_json(line.decode()), now - chunk.heard)
                chunk.number += 1
                chunk.heard = now
        elif now - chunk.heard > chunk.kind.limit:
            os.killpg(chunk.process, signal.SIGKILL)
            what = f"a hang: no answer within {chunk.kind.limit:.0f} s"
            self._add(chunk.kind, chunk.number, Outcome("", [what]), now - chunk.heard)
            chunk.number += 1
            return self._end(chunk, is_killed=True)
        self._next[chunk.kind.name] = chunk.number
        return True

    def _end(self, chunk: Chunk, is_killed: bool = False) -> bool:
        os.close(chunk.pipe)
        code = os.waitstatus_to_exitcode(os.waitpid(chunk.process, 0)[1])
        if code and not is_killed:
            what = f"the process ended with {code}"
            now = time.monotonic()
            self._add(chunk.kind, chunk.number, Outcome("", [what]), now - chunk.heard)
            chunk.number += 1
        self._next[chunk.kind.name] = chunk.number
        return False

    def _add(self, kind: Kind, number: int, outcome: Outcome, seconds: float) -> None:
        tally = self.tallies[kind.name]
        tally.trials += 1
        tally.seconds += seconds
        tally.counts += outcome.counts
        if outcome.problems:
            problems = "\n    ".join(outcome.problems)
            repeat = f"--seed {self.seed} --trial {kind.name}:{number}"
            tally.findings.append(f"{repeat} ({outcome.what}):\n    {problems}")
            self.log(tally.findings[-1])
