"""Machines of a network on this one: each has namespaces of its own for all that hosts differ in.

A host has an address on a bridge, a name, processes, a /tmp and a /dev/shm of its own. Its name is
127.0.1.1 to itself, as on Debian. What hosts share is one folder, as if by a network file system.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "10.213.7"
TOKEN = "0123456789abcdef" * 4
SETUP = """
set -e
hostname "$1"
mount --make-rprivate /
mount --bind "$2" /mnt
mount -t tmpfs tmpfs /tmp
mount -t tmpfs -o size=512m tmpfs /dev/shm
mkdir -p "$2" /tmp/home/.ray
mount --move /mnt "$2"
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n' "$1" > /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
touch /tmp/ready
exec sleep infinity
"""
"""What the first process of a host does, with its name and the shared folder as arguments."""


def call(*words: object) -> str:
    """Run a command that must succeed, and return what it prints."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


class Host:
    """One machine of the network."""

    def __init__(self, number: int, prefix: str, shared: Path) -> None:
        self.name, self.address = f"{prefix}{number}", f"{NETWORK}.{number + 1}"
        self.link, self.bridge, self.shared = f"{self.name}-v", f"{prefix}br", shared
        call("ip", "netns", "add", self.name)
        call("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns",
             self.name)  # fmt: skip
        call("ip", "link", "set", self.link, "master", self.bridge, "up")
        inside = ("ip", "-n", self.name)
        call(*inside, "link", "set", "lo", "up")
        call(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        call(*inside, "link", "set", "eth0", "up")
        outer = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "--pid", "--fork",
             "--mount-proc", "sh", "-c", SETUP, "sh", self.name, str(shared)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.outer, self.first = outer, 0
        self.started: list[subprocess.Popen] = []
        deadline = time.monotonic() + 30
        while not self.first or self.run("test", "-e", "/tmp/ready").returncode:
            assert outer.poll() is None and time.monotonic() < deadline, "no such host"
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            self.first = int(children[0]) if children else 0
            time.sleep(0.1)

    def make_environment(self, **variables: str) -> dict[str, str]:
        """Make the environment of a command on this host."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": "/tmp/home",
            "PYTHONPATH": str(ROOT),
            "NUMBA_CACHE_DIR": str(self.shared / "numba"),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else a busy machine's other processes starve Ray's
            **variables,
        }

    def start(
        self, *words: object, output: int = subprocess.PIPE, **variables: str
    ) -> subprocess.Popen:
        """Start a command on this host."""
        return subprocess.Popen(
            ["nsenter", "-t", str(self.first), "-m", "-u", "-n", "-p", "--", *map(str, words)],
            env=self.make_environment(**variables), cwd="/", text=True, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output,
        )  # fmt: skip

    def run(self, *words: object, timeout: float = 280, **variables: str):
        """Run a command on this host to its end."""
        process = self.start(*words, **variables)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            pytest.fail(f"no end within {timeout} s: {words}\n{output}\n{errors}")
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def flowkit(self, *words: object, **variables: str):
        """Run flowkit on this host."""
        return self.run(sys.executable, "-m", "flowkit", *words, **variables)

    def write_token(self) -> None:
        """Give the user of this host the token of the cluster, as docs/clusters.md says."""
        done = self.run("sh", "-c", f"umask 077; printf {TOKEN} > ~/.ray/auth_token")
        assert done.returncode == 0, done.stderr

    def ray(self, *words: object) -> None:
        """Start a node of Ray on this host; it runs until the host is killed."""
        command = (sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start")
        options = ("--node-ip-address", self.address, "--object-store-memory", 80 << 20, "--block")
        node = self.start(
            *command, *options, *words, output=subprocess.DEVNULL, RAY_AUTH_MODE="token"
        )
        self.started.append(node)

    def cut(self) -> None:
        """Let no packet through, as if a switch had failed."""
        call("ip", "link", "set", self.link, "nomaster")

    def restore(self) -> None:
        """Let packets through again."""
        call("ip", "link", "set", self.link, "master", self.bridge)

    def kill(self) -> None:
        """Kill all processes of this host at once, as if its power had failed."""
        with suppress(ProcessLookupError):
            if self.first:
                os.kill(self.first, signal.SIGKILL)
        for process in (self.outer, *self.started):
            process.wait()

    def remove(self) -> None:
        """Kill this host and take it out of the network."""
        self.kill()
        call("ip", "netns", "del", self.name)


class Network:
    """A bridge, and the hosts on it."""

    def __init__(self, folder: Path) -> None:
        self.prefix, self.shared = f"fk{os.getpid() % 10**5}n", folder
        self.hosts: list[Host] = []
        call("ip", "link", "add", f"{self.prefix}br", "type", "bridge")
        call("ip", "link", "set", f"{self.prefix}br", "up")

    def add_host(self) -> Host:
        """Add a host without any node of Ray."""
        self.hosts.append(Host(len(self.hosts), self.prefix, self.shared))
        self.hosts[-1].write_token()
        return self.hosts[-1]

    def add_node(self, cores: int = 1) -> Host:
        """Add a host with a node of Ray, which joins the cluster of the first host."""
        host = self.add_host()
        host.ray("--address", self.address, "--num-cpus", cores)
        wait_until(lambda: host.address in self.list_addresses(), 300)
        return host

    def start_head(self) -> Host:
        """Add the first host, which has Ray's head and none of the work."""
        host = self.add_host()
        host.ray("--head", "--port", 6379, "--num-cpus", 0, "--include-dashboard", "false")
        wait_until(self.list_addresses, 300)
        return host

    def prepare_nodes(self) -> list[Host]:
        """Return two nodes of one core each that work, adding what is missing."""
        addresses = self.list_addresses()
        nodes = [host for host in self.hosts[1:] if host.address in addresses]
        return [*nodes, *(self.add_node() for _ in range(2 - len(nodes)))][:2]

    @property
    def address(self) -> str:
        """Address of the cluster."""
        return f"{self.hosts[0].address}:6379"

    def list_addresses(self) -> set[str]:
        """List the addresses of the living nodes of the cluster."""
        script = (
            "import ray; ray.init(address='auto', logging_level='CRITICAL', log_to_driver=False);"
            "print(*(n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']))"
        )
        done = self.hosts[0].run(sys.executable, "-c", script, RAY_AUTH_MODE="token")
        return set(done.stdout.split()) if done.returncode == 0 else set()

    def close(self) -> None:
        """Remove everything."""
        for host in self.hosts:
            host.remove()
        call("ip", "link", "del", f"{self.prefix}br")


def wait_until(condition, seconds: float) -> None:
    """Wait until a condition holds; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


def find_obstacle() -> str:
    """Return why there can be no such network here, or ''."""
    if not sys.platform.startswith("linux") or os.getuid() != 0:
        return "network namespaces need root on Linux"
    missing = [name for name in ("ip", "unshare", "nsenter", "hostname") if not shutil.which(name)]
    if missing:
        return f"needs the programs {', '.join(missing)} (Debian: iproute2, util-linux, hostname)"
    if any(str(path).startswith("/tmp/") for path in (sys.prefix, ROOT)):
        return "hosts have a /tmp of their own, and would not see this checkout or its Python"
    probe = f"fk{os.getpid() % 10**5}p"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if done.returncode:
        return f"no network namespaces here: {done.stderr.strip()}"
    test = ["ip", "netns", "exec", probe, "unshare", "--mount", "--uts", "--pid", "--fork", "true"]
    done = subprocess.run(test, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    if done.returncode:
        return f"no namespaces of mounts and processes here: {done.stderr.strip()}"
    bridge = ["ip", "link", "add", probe, "type", "bridge"]
    done = subprocess.run(bridge, capture_output=True, text=True)
    if done.returncode:
        return f"no bridges here: {done.stderr.strip()}"
    subprocess.run(["ip", "link", "del", probe], capture_output=True)
    return ""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A network with a shared folder and the head of a Ray cluster."""
    if obstacle := find_obstacle():
        pytest.skip(obstacle)
    network = Network(tmp_path_factory.mktemp("shared"))
    try:
        network.start_head()
        yield network
    finally:
        network.close()
