"""In which order batches are computed and copied."""

from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from flowkit.store import Store
from train.features import NetworkOptions, Options, embedder, extract_features
from train.features.embedder import Embedder, start_copy

QUIET = Console(quiet=True)


def test_a_copy_starts_before_the_next_batch_and_is_awaited_after_it(monkeypatch):
    """A GPU is imitated: a copy has its values only after its event."""
    steps = []

    class CopyEvent:
        def __init__(self, vectors, copy):
            self.vectors, self.copy = vectors, copy

        def synchronize(self):
            steps.append(f"wait {int(self.vectors[0])}")
            self.copy.copy_(self.vectors)

    def embed(self, batch, images):
        steps.append(f"compute {int(images[0])}")
        return images

    def start(vectors):
        steps.append(f"copy {int(vectors[0])}")
        copy = torch.full_like(vectors, -1)
        return copy, CopyEvent(vectors, copy)

    items = [{"images": torch.full((2,), n), "errors": {n: "damaged"}} for n in range(3)]
    monkeypatch.setattr(Embedder, "_load", lambda self, batches: items)
    monkeypatch.setattr(Embedder, "embed", embed)
    monkeypatch.setattr(embedder, "start_copy", start)
    batches = ["batch 0", "batch 1", "batch 2"]
    results = []
    for batch, vectors, errors in Embedder(SimpleNamespace(device="cpu"), Event()).compute(batches):
        steps.append(f"use {vectors[0]}")
        results.append((batch, vectors.tolist(), errors))
    assert results == [(f"batch {n}", [n, n], {n: "damaged"}) for n in range(3)]
    assert steps == [
        "compute 0", "copy 0",
        "compute 1", "copy 1", "wait 0", "use 0",
        "compute 2", "copy 2", "wait 1", "use 1",
        "wait 2", "use 2",
    ]  # fmt: skip


def test_features_of_the_cpu_are_not_copied():
    vectors = torch.ones(2, 3)
    copy, event = start_copy(vectors)
    assert copy is vectors and event is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("batch", [2, 8])
def test_features_of_a_gpu_are_those_of_the_cpu(store, finished, batch):
    """Batches of 2 cut each video into chunks, which share images."""
    wanted = NetworkOptions(model=str(finished.path), stream="flow", positions=0)
    for device in ("cpu", "cuda"):
        options = Options(workers=0, device=device, batch=batch)
        assert extract_features(store.path, device, wanted, options, QUIET).computed == 12
    opened = Store(store.path)
    for id in opened.ids:
        of_cpu, of_gpu = (opened[id].features(name) for name in ("cpu", "cuda"))
        np.testing.assert_allclose(of_gpu, of_cpu, rtol=2**-9, atol=2e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_copy_does_not_wait_for_what_is_queued_after_it():
    matrix = torch.rand(4096, 4096, device="cuda")
    copy, event = start_copy(matrix.sum(1))
    for _ in range(200):
        matrix = (matrix @ matrix).tanh()
    later = torch.cuda.Event()
    later.record()
    event.synchronize()
    assert copy.is_pinned() and not later.query()
    later.synchronize()
