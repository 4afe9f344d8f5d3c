"""A store with evaluated runs whose networks have random weights, and the page's API over them."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import torch
import uvicorn

from flowkit.store import Store
from flowkit.web.app import WebContext, make_app
from flowkit.web.open_store import OpenStore
from flowkit.web.safety import Safety
from models.weights.pretrained import read_weights
from train.evaluation.evaluate import evaluate
from train.loop.checkpoint import write_tensors
from train.runs.phases import list_phases
from train.runs.run import Run, Settings
from train.tasks.networks import make_network, select_weights
from train.tasks.registry import find_task
from train.web.on_demand import Worker
from train.web.plugin import make_plugin

SETTINGS = Settings(threads=1, workers=0)


@pytest.fixture
def finish() -> Callable[[Run], Run]:
    """``finish(run)``: give each phase random weights, and its attention blocks some influence."""

    def work(run: Run) -> Run:
        for phase in list_phases(run.recipe):
            folder = run.folder(phase.name)
            folder.mkdir(parents=True, exist_ok=True)
            weights = select_weights(make_network(run.recipe, phase, phase.branch), phase)
            trained = f"to_{phase.branch}." if phase.name.startswith("iter") else "none"
            for name in weights:
                if name.startswith(trained) and name.endswith("norm.weight"):
                    weights[name] = torch.full_like(weights[name], 0.5)
            write_tensors(folder / "weights.pt", weights)
            epochs = [
                {"epoch": n, "loss": 2 / n, "val_loss": 3 / n, "train_top1": 0.5, "top1": 0.25}
                for n in (1, 2)
            ]
            (folder / "epochs.jsonl").write_text("".join(json.dumps(e) + "\n" for e in epochs))
        return run

    return work


@pytest.fixture
def score(store) -> Callable[[Run], Run]:
    """``score(run)``: evaluate a finished run, as `flowkit evaluate` does."""

    def work(run: Run) -> Run:
        results = {
            "scores": evaluate(run, store, SETTINGS),
            "costs": find_task(run.recipe).count_costs(),
        }
        (run.path / "results.json").write_text(json.dumps(results))
        return run

    return work


@pytest.fixture
def run(begin, finish) -> Run:
    """A finished run with cross-modality attention, which is not evaluated."""
    return finish(begin(testing__controls="[]"))


@pytest.fixture
def clip_run(begin, finish) -> Run:
    """A finished run with attention between clips of 8 frames, from RGB to flow and back."""
    run = finish(
        begin(
            "clips", testing__controls="[]", network__backbone="p3d", network__blocks=[2, 2, 1, 1],
            network__positions=["res2_1", "res3_1"], data__clip={"length": 8}, data__size=24,
        )
    )  # fmt: skip
    path = run.folder("iter_1") / "weights.pt"
    weights = read_weights(path)
    for name in weights:
        if name.startswith("to_flow.") and name.endswith("norm.weight"):
            weights[name] = torch.full_like(weights[name], 0.5)
    write_tensors(path, weights)
    return run


class Answer:
    """An answer of the server."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status_code, self.headers = response.status, response.headers
        self.content = response.read()
        self.text = self.content.decode(errors="replace")

    def json(self):
        return json.loads(self.content)


class Page:
    """A server of the page on a free port, in a thread of this process."""

    def __init__(self, context: WebContext) -> None:
        self.plugin = make_plugin(context)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        app = Safety(make_app(context, [self.plugin]), frozenset({f"127.0.0.1:{self.port}"}))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def get(self, path: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("GET", path)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    @property
    def plugin_worker(self) -> Worker:
        """The thread that computes attention."""
        return self.plugin.close.__self__  # type: ignore[attr-defined,no-any-return]

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self.plugin.close()


@pytest.fixture
def open_page(store: Store) -> Iterator[Callable[..., Page]]:
    """``open_page(run, …)``: a server of the page that shows the store and these runs."""
    pages: list[Page] = []

    def work(*runs: Run | Path, shown: Store = store) -> Page:
        paths = tuple(run.path if isinstance(run, Run) else run for run in runs)
        pages.append(Page(WebContext(OpenStore(shown.path), paths)))
        return pages[-1]

    yield work
    for page in pages:
        page.close()


@pytest.fixture
def weights_of() -> Callable[[Run, str], dict[str, torch.Tensor]]:
    """``weights_of(run, phase)``: the weights of a finished phase."""
    return lambda run, phase: read_weights(run.folder(phase) / "weights.pt")
