"""Define the application: the routes of the page and of the JSON API.

    /  /browse  /video/KEY  …           the page (its script shows what the path says)
    /static/NAME                        scripts and styles
    /api/overview                       what the store holds (overview.py)
    /api/videos?class=…&sort=…          one page of the grid (browse.py)
    /api/video/KEY                      one video (video_facts.py)
    /api/video/KEY/motion               the mean length of its flow over time
    /api/video/KEY/frames?start=…       a bundle of JPEGs (images.py)
    /image/KEY/PART/T.jpg               one JPEG as the store has it
    /image/KEY/audio.png                the sound as a spectrogram

Other packages add routes and scripts: an entry point of the group ``flowkit.web`` names a function
that is called with a `WebContext` and returns a `Plugin`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from flowkit.errors import CorruptError, FlowkitError, UsageError
from flowkit.path_text import replace_surrogates_in_json
from flowkit.store import Video
from flowkit.web.browse import Order, Selection, list_page, parse_number
from flowkit.web.images import MAX_FRAMES, PARTS, bundle_frames, draw_spectrogram, read_part
from flowkit.web.open_store import OpenStore, StoreView
from flowkit.web.overview import describe_store
from flowkit.web.pages import STATIC, render_page
from flowkit.web.video_facts import describe_video, measure_motion

PAGES = ("/", "/browse", "/video/{key}", "/runs", "/runs/{run}")
"""Paths of the page."""


@dataclass(frozen=True)
class WebContext:
    """What a plugin gets."""

    store: OpenStore
    """The store that is shown."""
    runs: tuple[Path, ...] = ()
    """Folders of the runs to show."""
    is_static: bool = False
    """Whether answers go into a folder without a server, which can compute nothing on demand."""


@dataclass(frozen=True)
class Plugin:
    """What a plugin adds to the application."""

    routes: Sequence[BaseRoute] = ()
    """Its routes, below ``/api/``."""
    scripts: Sequence[str] = ()
    """Paths of its ES modules, which the page imports."""
    static: dict[str, Path] = field(default_factory=dict)
    """Folders of files by their path, such as ``/static/runs``."""
    orders: Mapping[str, Order] = field(default_factory=dict)
    """Orders in which the grid can show videos, by name."""
    list_addresses: Callable[[], Iterable[str]] = tuple
    """Lists the addresses below ``/api/`` that a folder without a server has the answers of."""
    list_video_addresses: Callable[[str], Iterable[str]] = lambda key: ()
    """Lists such addresses for the key of a video."""
    close: Callable[[], None] = lambda: None
    """Called when the server ends."""


class FrameConvertor(IntegerConvertor):
    """The index of a frame in a path; Python refuses to convert thousands of digits."""

    regex = "[0-9]{1,4000}"


register_url_convertor("frame", FrameConvertor())


class Answers:
    """The functions that answer requests; each runs in a worker thread.

    Args:
        store: The store that is shown.
        orders: The orders that plugins add, by name.
    """

    def __init__(self, store: OpenStore, orders: Mapping[str, Order]) -> None:
        self._store, self._orders = store, orders

    def get_overview(self, _: Request) -> Response:
        """Answer with the facts of the overview page, and the orders of the grid."""
        return answer_json(describe_store(self._store) | {"orders": list(self._orders)})

    def list_videos(self, request: Request) -> Response:
        """Answer with one page of the grid."""
        selection = Selection.from_query(request.query_params, self._orders)
        return answer_json(list_page(self._store, selection, self._orders))

    def get_video(self, request: Request) -> Response:
        """Answer with the facts of one video."""
        view, video = self._find_video(request)
        return answer_json(describe_video(self._store.root, view, video))

    def get_motion(self, request: Request) -> Response:
        """Answer with the mean length of the flow over time."""
        view, video = self._find_video(request)
        return answer_json(measure_motion(view, video))

    def get_frames(self, request: Request) -> Response:
        """Answer with a bundle of JPEGs."""
        _, video = self._find_video(request)
        query = request.query_params
        start = parse_number(query, "start", 0, 0, 1 << 40)
        count = parse_number(query, "count", 16, 1, MAX_FRAMES)
        parts = query.get("parts", ",".join(PARTS)).split(",")
        content = bundle_frames(video, parts, start, count)
        return Response(content, media_type="application/octet-stream")

    def get_image(self, request: Request) -> Response:
        """Answer with one stored JPEG."""
        view, video = self._find_video(request)
        part, t = request.path_params["part"], request.path_params["t"]
        tag = f'"{view.version}-{t}"'
        headers = {"etag": tag, "cache-control": "private, max-age=60"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        if part not in PARTS:
            raise HTTPException(404, f"no part {part!r}; there are {', '.join(PARTS)}")
        return Response(read_part(video, part, t), media_type="image/jpeg", headers=headers)

    def get_spectrogram(self, request: Request) -> Response:
        """Answer with a picture of the sound."""
        _, video = self._find_video(request)
        return Response(draw_spectrogram(video), media_type="image/png")

    def _find_video(self, request: Request) -> tuple[StoreView, Video]:
        view = self._store.get()
        video = view.find_video(request.path_params["key"])
        if video is None:
            raise HTTPException(404, "the store has no such video")
        return view, video


def make_app(context: WebContext, plugins: Sequence[Plugin] = ()) -> Starlette:
    """Make the application.

    Args:
        context: The store and the runs to show.
        plugins: What other packages add.
    """
    orders = {name: order for plugin in plugins for name, order in plugin.orders.items()}
    answers = Answers(context.store, orders)
    scripts = [script for plugin in plugins for script in plugin.scripts]
    folders = {"/static": STATIC, **{k: v for p in plugins for k, v in p.static.items()}}

    def show_page(request: Request) -> Response:
        return render_page(context.store.root, scripts, request.url.path.split("/")[1])

    routes: list[BaseRoute] = [
        *(Route(path, show_page) for path in PAGES),
        Route("/api/overview", answers.get_overview),
        Route("/api/videos", answers.list_videos),
        Route("/api/video/{key}", answers.get_video),
        Route("/api/video/{key}/motion", answers.get_motion),
        Route("/api/video/{key}/frames", answers.get_frames),
        Route("/image/{key}/audio.png", answers.get_spectrogram),
        Route("/image/{key}/{part}/{t:frame}.jpg", answers.get_image),
        *(route for plugin in plugins for route in plugin.routes),
        # Longer paths first: a mount takes everything below it.
        *(
            Mount(path, StaticFiles(directory=folders[path]))
            for path in sorted(folders, reverse=True)
        ),
    ]
    handlers: dict[Any, Any] = {
        HTTPException: answer_http_error,
        FlowkitError: answer_error,
        OverflowError: answer_error,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


def answer_json(values: Any) -> Response:
    """Answer with JSON values, whose texts may hold any characters."""
    return JSONResponse(replace_surrogates_in_json(values), headers={"cache-control": "no-store"})


def answer_http_error(_: Request, error: Exception) -> Response:
    """Answer with an error that a route raised, as JSON."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def answer_error(_: Request, error: Exception) -> Response:
    """Answer with an error of flowkit: 400 for a wrong request, 422 for damaged data."""
    status = 422 if isinstance(error, CorruptError) else 400
    if isinstance(error, FlowkitError) and not isinstance(error, UsageError | CorruptError):
        status = 409  # the store cannot be read now, such as while it is replaced
    return JSONResponse({"error": " ".join(str(error).split())}, status)
