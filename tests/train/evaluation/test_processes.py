"""What several scoring processes need of a cluster, before any of them is started."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from flowkit.errors import UsageError
from train.evaluation import processes
from train.evaluation.processes import open_processes


@pytest.fixture
def cluster(monkeypatch):
    """``cluster(resources)``: pretend to be connected to a cluster that has these."""

    def connect(resources):
        @contextmanager
        def open_ray(address, cores, gpus):
            yield SimpleNamespace(cluster_resources=lambda: resources, remote=pytest.fail)

        monkeypatch.setattr(processes, "open_ray", open_ray)
        monkeypatch.setattr(processes, "find_address", lambda address: "host:6379")

    return connect


@pytest.mark.parametrize(
    ("settings", "resources", "missing"),
    [
        (("cpu", 4), {"CPU": 1.0}, "1 cores; use at most 1"),
        (("cuda", 0), {"CPU": 8.0, "GPU": 1.0}, "1 GPUs; use at most 1"),
        (("cuda", 2), {"CPU": 3.0, "GPU": 2.0}, "each with 2 cores .* 3 cores; use at most 1"),
    ],
)
def test_a_cluster_that_is_too_small_is_refused(cluster, settings, resources, missing):
    cluster(resources)
    device, workers = settings
    chosen = SimpleNamespace(processes=2, device=device, workers=workers)
    with pytest.raises(UsageError, match=missing), open_processes(chosen):
        pytest.fail("it would wait for ever")
