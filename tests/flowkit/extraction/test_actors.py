from types import SimpleNamespace

import pytest

from flowkit.errors import FlowkitError
from flowkit.extraction import Options, WorkerSetup
from flowkit.extraction import driver as driver_module
from flowkit.extraction.actors import PoolSize, choose_size, uses_gpu
from flowkit.extraction.driver import Driver


def node(cpus, gpus=0, alive=True):
    numbers = {"CPU": float(cpus), "GPU": float(gpus)}
    resources = {name: number for name, number in numbers.items() if number}  # as Ray lists them
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "asked", "tasks", "expected"),
    [
        ([node(4)], None, 100, PoolSize(4, 1, 4, 0)),
        ([node(4), node(8, 1), node(9, alive=False)], None, 100, PoolSize(12, 1, 12, 0)),
        ([node(4)], 2, 100, PoolSize(2, 1, 2, 0)),
        ([node(4)], None, 3, PoolSize(3, 1, 3, 0)),
        ([node(4)], 9, 100, PoolSize(9, 1, 9, 0)),
    ],
)
def test_on_cpus_a_lane_is_an_actor(nodes, asked, tasks, expected):
    assert choose_size(nodes, "numba", asked, tasks) == expected


@pytest.mark.parametrize(
    ("nodes", "asked", "tasks", "expected"),
    [
        ([node(16, 1)], None, 100, PoolSize(16, 16, 1, 1)),
        ([node(16, 8)], None, 100, PoolSize(16, 2, 8, 1)),
        ([node(2, 4)], None, 100, PoolSize(4, 1, 4, 1)),  # fewer cores than GPUs
        ([node(64), node(16, 2), node(32, 2)], None, 100, PoolSize(32, 8, 4, 1)),
        ([node(16, 1)], 4, 100, PoolSize(4, 4, 1, 1)),
        ([node(16, 2)], 3, 100, PoolSize(3, 2, 2, 1)),
        ([node(16, 2)], None, 3, PoolSize(3, 2, 2, 1)),
        ([node(16, 4)], None, 1, PoolSize(1, 1, 1, 1)),
        ([node(8, 1)], 100, 200, PoolSize(8, 8, 1, 1)),  # no more than there are lanes
        ([node(16, 2), node(0, 2)], None, 100, PoolSize(16, 8, 2, 1)),
    ],
)
def test_on_gpus_an_actor_has_its_share_of_the_cores(nodes, asked, tasks, expected):
    assert choose_size(nodes, "triton", asked, tasks) == expected


def test_a_cluster_without_gpus_is_told():
    with pytest.raises(FlowkitError, match=r"'triton' computes on GPUs.*--backend numba"):
        choose_size([node(8)], "triton", None, 10)
    with pytest.raises(FlowkitError, match=r"'torch-cuda' computes on GPUs.*--backend torch-cpu"):
        choose_size([node(8)], "torch-cuda", None, 10)
    with pytest.raises(FlowkitError, match="--num-cpus"):  # Ray would never start an actor there
        choose_size([node(0, 1)], "triton", None, 10)


def test_which_backends_compute_on_gpus():
    assert [uses_gpu(name) for name in ("triton", "opencv-cuda", "numba", "auto", "")] == [
        True, True, False, False, False,
    ]  # fmt: skip


class Cluster:
    """Ray, as far as a driver asks it about its nodes."""

    exceptions = SimpleNamespace(RayError=OSError)

    def __init__(self, *nodes):
        self.found = list(nodes)

    def nodes(self):
        if not self.found:
            raise OSError("the head does not answer")
        return self.found

    def remote(self, **options):
        return lambda actor_class: actor_class


@pytest.mark.parametrize(
    ("later", "workers"),
    [
        ([node(1), node(3)], 4),
        ([node(1, alive=False), node(2)], 2),
        ([node(1, alive=False)], 1),  # until another one joins
        ([node(50)], 9),  # of nine tasks
        ([], 1),
    ],
)
def test_nodes_that_join_are_used(later, workers, tmp_path, recipe, monkeypatch):
    ray, tasks = Cluster(node(1)), [SimpleNamespace(input_path=tmp_path)] * 9
    setup = WorkerSetup(root=tmp_path, recipe=recipe, backend="numba")
    driver = Driver(ray, tasks, setup, Options(), None)
    ray.found = later
    driver._use_new_nodes()
    assert driver.size.workers == 1  # it asks from time to time
    monkeypatch.setattr(driver_module, "NODE_SECONDS", 0)
    driver._use_new_nodes()
    assert driver.size == PoolSize(workers, 1, workers, 0)


def test_a_user_who_asks_for_workers_gets_no_more(tmp_path, recipe, monkeypatch):
    ray, tasks = Cluster(node(1)), [SimpleNamespace(input_path=tmp_path)] * 9
    setup = WorkerSetup(root=tmp_path, recipe=recipe, backend="numba")
    driver = Driver(ray, tasks, setup, Options(workers=2), None)
    ray.found = [node(8)]
    monkeypatch.setattr(driver_module, "NODE_SECONDS", 0)
    driver._use_new_nodes()
    assert driver.size.workers == 2
