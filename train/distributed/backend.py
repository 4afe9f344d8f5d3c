"""Ray Train's trainer and backend for PyTorch, with a network interface chosen on each node.

Gloo, through which CPU processes exchange gradients, binds to the address of the host's name. On
many machines /etc/hosts says 127.0.0.1 or 127.0.1.1, which no other node can reach.
"""

import os
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _TorchBackend

INTERFACE_VARIABLE = "GLOO_SOCKET_IFNAME"


class Trainer(TorchTrainer):
    """Ray Train's trainer, which leaves signals to the process that calls it."""

    controller: Any = None
    """The actor that owns the training processes, once it has been started."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Keep the actor, and do not handle SIGINT: Ray Train would exit with code 0."""
        self.controller = controller

    def kill(self) -> None:
        """Kill the training processes by killing the actor that owns them."""
        if self.controller is not None:
            ray.kill(self.controller)


@dataclass
class NodeTorchConfig(TorchConfig):
    """Ray Train's settings of PyTorch, with the backend of this module."""

    @property
    def backend_cls(self) -> type[Any]:
        """Return the class that sets the processes up."""
        return NodeTorchBackend


class NodeTorchBackend(_TorchBackend):
    """Ray Train's backend, which lets each process choose its interface first."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Set up the process group of all workers."""
        worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


def choose_interface() -> None:
    """Let Gloo use the interface by which Ray reaches this node, unless the user named another."""
    interface = find_interface(ray.util.get_node_ip_address())
    if interface is not None:
        os.environ.setdefault(INTERFACE_VARIABLE, interface)


def find_interface(address: str) -> str | None:
    """Return the name of the network interface that has an address; None if none has."""
    return next(
        (
            name
            for name, addresses in psutil.net_if_addrs().items()
            if any(found.address == address for found in addresses)
        ),
        None,
    )
