"""Answer requests for which a network is run on demand: attention, and scores of segments.

/api/runs/RUN/attention/KEY/blocks?phase=…&snippet=…       blocks of cross-modality attention
/api/runs/RUN/attention/KEY/point?phase=…&snippet=…&block=…&x=…&y=…&step=…   where one point attends
/api/runs/RUN/attention/KEY/positions?phase=…&position=…   salient positions of a pyramid
/api/runs/RUN/attention/KEY/sets                           weights of units over a set
/api/runs/RUN/segments/KEY                                 best classes of each segment
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowkit.errors import UsageError
from flowkit.store import Store
from flowkit.web.app import answer_json
from flowkit.web.browse import parse_number
from train.runs.phases import Phase, list_phases
from train.runs.run import Run
from train.web.attention_answers import (
    describe_blocks,
    describe_point,
    describe_positions,
    describe_sets,
)
from train.web.attention_kind import Name, find_kind
from train.web.attention_maps import ImageAttention, SnippetMaps
from train.web.on_demand import Worker, compute
from train.web.open_runs import OpenRun
from train.web.routes import MAX_INDEX, RunAnswers, parse_index
from train.web.segments import describe_segments


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a request asks the attention of a run."""

    run: OpenRun
    """The run."""
    phase: Phase
    """The phase whose network is asked."""
    store: Store
    """The store."""
    row: int
    """Row of the video in the store."""
    id: tuple[str, ...]
    """Tells this run, phase and video from all others."""


class AttentionAnswers:
    """The functions that answer requests about attention.

    Args:
        answers: Finds runs and videos.
        worker: Computes.
    """

    def __init__(self, answers: RunAnswers, worker: Worker) -> None:
        self._answers, self._worker = answers, worker
        self._attention: dict[str, ImageAttention] = {}

    def list_routes(self) -> list[BaseRoute]:
        """List the routes of the functions."""
        base = "/api/runs/{run}/attention/{key}"
        return [
            Route(f"{base}/blocks", self.get_blocks),
            Route(f"{base}/point", self.get_point),
            Route(f"{base}/positions", self.get_positions),
            Route(f"{base}/sets", self.get_sets),
            Route("/api/runs/{run}/segments/{key}", self.get_segments),
        ]

    async def get_blocks(self, request: Request) -> Response:
        """Answer with the attention blocks of a network and the snippets of a video."""
        snippet = parse_index(request, "snippet")
        return answer_json(describe_blocks(await self._compute_maps(request, snippet), snippet))

    async def get_point(self, request: Request) -> Response:
        """Answer with where a block attends from one point."""
        point = parse_fraction(request, "x"), parse_fraction(request, "y")
        step = parse_index(request, "step")
        maps = await self._compute_maps(request, parse_index(request, "snippet"))
        return answer_json(describe_point(maps, request.query_params.get("block", ""), point, step))

    async def get_positions(self, request: Request) -> Response:
        """Answer with the salient positions of a pyramid."""
        position = parse_number(request.query_params, "position", 0, 0, MAX_INDEX)
        question = self._read_question(request, "pyramid")
        attention = self._find_attention(question.run)
        work = partial(attention.compute_pyramid, question.store, question.phase, question.row)
        maps = await compute(self._worker, request, ("pyramid", *question.id), work)
        return answer_json(describe_positions(maps, position))

    async def get_sets(self, request: Request) -> Response:
        """Answer with the weights of units over the features of a video."""
        question = self._read_question(request, "sets")
        work = partial(describe_sets, question.run.run, question.store, question.row)
        return answer_json(await compute(self._worker, request, ("sets", *question.id), work))

    async def get_segments(self, request: Request) -> Response:
        """Answer with the best classes of each segment of a video."""
        run = self._answers.find_run(request.path_params["run"])
        view, video = self._answers.find_video(request)
        row = view.store.find(video.id)
        assert row is not None
        work = partial(describe_segments, run.run, view.store, row, self._worker.check)
        key = ("segments", run.key, read_states(run.run), view.version, video.id)
        return answer_json(await compute(self._worker, request, key, work))

    async def _compute_maps(self, request: Request, snippet: int | None) -> SnippetMaps:
        question = self._read_question(request, "cross-modality")
        compute_snippet = self._find_attention(question.run).compute_snippet
        work = partial(compute_snippet, question.store, question.phase, question.row, snippet)
        key = ("blocks", snippet, *question.id)
        maps: SnippetMaps = await compute(self._worker, request, key, work)
        return maps

    def _find_attention(self, run: OpenRun) -> ImageAttention:
        if run.key not in self._attention:
            self._attention[run.key] = ImageAttention(run.run, self._worker.check)
        return self._attention[run.key]

    def _read_question(self, request: Request, expected: Name) -> Question:
        run = self._answers.find_run(request.path_params["run"])
        view, video = self._answers.find_video(request)
        kind = find_kind(run.run)
        if kind.name is None:
            raise UsageError(kind.reason)
        if kind.name != expected:
            raise UsageError(f"this run has another kind of attention: {kind.name}")
        phases = {phase.name: phase for phase in kind.phases}
        name = request.query_params.get("phase", kind.phases[-1].name)
        if name not in phases:
            raise UsageError(f"no finished phase {name!r}; there are {', '.join(phases)}")
        row = view.store.find(video.id)
        assert row is not None
        weights = run.run.folder(name) / "weights.pt"
        id = (run.key, name, str(weights.stat().st_mtime_ns), view.version, video.id)
        return Question(run=run, phase=phases[name], store=view.store, row=row, id=id)


def read_states(run: Run) -> tuple[int, ...]:
    """Return when the weights of each phase were written; they change if it is trained again."""
    states = []
    for phase in list_phases(run.recipe):
        with suppress(OSError):  # it is not trained, or is just being written
            states.append((run.folder(phase.name) / "weights.pt").stat().st_mtime_ns)
    return tuple(states)


def parse_fraction(request: Request, name: str) -> float:
    """Read a number from 0 to 1.

    Raises:
        UsageError: It is none.
    """
    text = request.query_params.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{name} is a number from 0 to 1, got {text!r}")
    return value
