"""Answer requests about runs.

/api/runs                                  all runs, and their best scores
/api/runs/RUN                              one run, with the tables of the report
/api/runs/RUN/confusion?score=…            confusion matrix of a score
/api/runs/RUN/gains?against=RUN            classes that gained or lost against another run
/api/runs/RUN/curves                       training curves
/api/runs/RUN/videos?score=…&sort=…        videos by how the run scored them
/api/runs/RUN/scored?score=…               all videos of a score at once, in each order
/api/runs/RUN/attention/KEY…               see attention_routes.py
/api/video/KEY/runs                        the best classes of a video, by run
/api/video/KEY/picture/STREAM/T.png        a frame, or a flow field in colours
"""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowkit.flow import flow_to_color
from flowkit.store import Video
from flowkit.store.format.jpeg import decode_rgb
from flowkit.web.app import answer_json
from flowkit.web.browse import parse_number
from flowkit.web.open_store import OpenStore, StoreView
from train.web.open_runs import OpenRun
from train.web.predictions import MAX_VIDEOS, Filter, describe_predictions, list_videos
from train.web.run_facts import (
    describe_confusions,
    describe_curves,
    describe_gains,
    describe_run,
    describe_tables,
)
from train.web.segments import explain_no_segments
from train.web.static_copy import LEFT_OUT, list_scored_videos

MAX_INDEX = 1 << 20
"""Largest index of a class, a snippet, a step or a position that a request can name."""


class RunAnswers:
    """The functions that answer requests about runs; each runs in a worker thread.

    Args:
        store: The store that is shown.
        runs: The runs by key.
        is_static: Whether answers go into a folder without a server, which computes nothing.
    """

    def __init__(self, store: OpenStore, runs: dict[str, OpenRun], is_static: bool = False) -> None:
        self._store, self._runs, self._is_static = store, runs, is_static

    def list_routes(self) -> list[BaseRoute]:
        """List the routes of the functions."""
        return [
            Route("/api/runs", self.list_runs),
            Route("/api/runs/{run}", self.get_run),
            Route("/api/runs/{run}/confusion", self.get_confusion),
            Route("/api/runs/{run}/gains", self.get_gains),
            Route("/api/runs/{run}/curves", self.get_curves),
            Route("/api/runs/{run}/videos", self.list_videos),
            Route("/api/runs/{run}/scored", self.list_scored),
            Route("/api/video/{key}/runs", self.get_predictions),
            Route("/api/video/{key}/picture/{stream}/{t:frame}.png", self.get_picture),
        ]

    def list_runs(self, _: Request) -> Response:
        """Answer with all runs."""
        return answer_json({"runs": [self._describe_run(run) for run in self._runs.values()]})

    def get_run(self, request: Request) -> Response:
        """Answer with one run and its tables."""
        run = self.find_run(request.path_params["run"])
        return answer_json({**self._describe_run(run), "tables": describe_tables(run)})

    def get_confusion(self, request: Request) -> Response:
        """Answer with the confusion matrix of a score."""
        run = self.find_run(request.path_params["run"])
        score = run.choose_score(request.query_params.get("score", ""))
        return answer_json(describe_confusions(run, score))

    def get_gains(self, request: Request) -> Response:
        """Answer with the classes that gained or lost."""
        run = self.find_run(request.path_params["run"])
        against = self.find_run(request.query_params.get("against", ""))
        return answer_json(describe_gains(run, against))

    def get_curves(self, request: Request) -> Response:
        """Answer with the training curves."""
        return answer_json(describe_curves(self.find_run(request.path_params["run"])))

    def list_videos(self, request: Request) -> Response:
        """Answer with videos by how the run scored them."""
        run, query = self.find_run(request.path_params["run"]), request.query_params
        is_other = query.get("predicted") == "other"
        chosen = Filter(
            true=parse_index(request, "true"),
            predicted=-1 if is_other else parse_index(request, "predicted"),
            order=query.get("sort", "wrong"),
            offset=parse_number(query, "offset", 0, 0, 1 << 40),
            limit=parse_number(query, "limit", 48, 1, MAX_VIDEOS),
        )
        score = run.choose_score(query.get("score", ""))
        return answer_json(list_videos(run, score, self._store.get().store, chosen))

    def list_scored(self, request: Request) -> Response:
        """Answer with all videos of a score, for a folder without a server."""
        run = self.find_run(request.path_params["run"])
        score = run.choose_score(request.query_params.get("score", ""))
        return answer_json(list_scored_videos(run, score, self._store.get().store))

    def get_predictions(self, request: Request) -> Response:
        """Answer with the best classes of a video, and what attention its runs have."""
        _, video = self.find_video(request)
        runs = []
        for run in self._runs.values():
            facts = self._describe_run(run)
            kept = {name: facts[name] for name in ("state", "attention")}
            kept["segments"] = LEFT_OUT if self._is_static else explain_no_segments(run.run)
            runs.append({**describe_predictions(run, video.id), **kept})
        return answer_json({"runs": runs})

    def get_picture(self, request: Request) -> Response:
        """Answer with a frame, or with a flow field in Middlebury's colours."""
        import cv2

        _, video = self.find_video(request)
        stream, t = request.path_params["stream"], request.path_params["t"]
        if stream not in ("rgb", "flow"):
            raise HTTPException(404, "pictures are of rgb and flow")
        picture = (
            decode_rgb(video.rgb_bytes(t)) if stream == "rgb" else flow_to_color(video.flow(t))
        )
        encoded = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
        headers = {"cache-control": "private, max-age=60"}
        return Response(encoded, media_type="image/png", headers=headers)

    def _describe_run(self, run: OpenRun) -> dict[str, Any]:
        facts = describe_run(run)
        if self._is_static and facts["attention"]["kind"]:
            facts["attention"] = {"kind": None, "reason": LEFT_OUT, "phases": []}
        return facts

    def find_run(self, key: str) -> OpenRun:
        """Return the run of a key.

        Raises:
            HTTPException: There is none.
        """
        if key not in self._runs:
            raise HTTPException(404, "no such run is shown")
        return self._runs[key]

    def find_video(self, request: Request) -> tuple[StoreView, Video]:
        """Return the open store, and the video of a request.

        Raises:
            HTTPException: The store has no such video.
        """
        view = self._store.get()
        video = view.find_video(request.path_params["key"])
        if video is None:
            raise HTTPException(404, "the store has no such video")
        return view, video


def parse_index(request: Request, name: str) -> int | None:
    """Read the index of a class, of a snippet or of a step; None if there is none."""
    query = request.query_params
    return parse_number(query, name, 0, 0, MAX_INDEX) if query.get(name) else None
