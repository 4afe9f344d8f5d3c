"""Two processes that know each other, as Ray Train would have started them."""

import multiprocessing
import os
import socket
import traceback

import pytest
import torch
import torch.distributed as dist


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(rank, world, port, connection):
    """A process that does ``work(rank, world, …)`` for each message, until an empty one."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    while message := connection.recv():
        work, *arguments = message
        try:
            work(rank, world, *arguments)
            connection.send("")
        except BaseException:
            connection.send(traceback.format_exc())
            raise
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def together():
    """``together(work, …)``: ``work(rank, world, …)`` in two processes that know each other.

    Both serve all tests of this folder, since each imports for seconds.
    """
    context, port, world = multiprocessing.get_context("spawn"), free_port(), 2
    pipes = [context.Pipe() for _ in range(world)]
    children = [
        context.Process(target=serve, args=(rank, world, port, pipes[rank][1]), daemon=True)
        for rank in range(world)
    ]
    for child in children:
        child.start()
    for _, theirs in pipes:
        theirs.close()  # so that a process that dies ends the wait for its answer

    def work_together(work, *arguments):
        for ours, _ in pipes:
            ours.send((work, *arguments))
        answers = [ours.recv() for ours, _ in pipes]
        assert answers == [""] * world, "\n".join(answers)

    yield work_together
    for ours, _ in pipes:
        ours.send(None)
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * world
