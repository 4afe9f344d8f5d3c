"""A cluster whose nodes have addresses, processes and a /tmp of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowkit.annotations import explicit_files
from flowkit.extraction import Options, extract
from flowkit.store import Store
from flowkit.store.format.records import read_record, record_paths
from flowkit.store.integrity.verify import verify
from tests.cluster import extract as script
from tests.cluster.conftest import Host, Network, wait_until
from tests.cluster.test_slurm import read_script
from tests.conftest import write_clip, write_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = {
    "classes": 2, "dataset": "tiny", "data.short_side": 24, "data.size": 16,
    "data.num_segments": 2, "network.width": 4, "training.epochs": 1, "training.batch": 4,
    "testing.segments": 2, "phases": "{}",
}  # fmt: skip
TRAIN = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture
def nodes(network: Network) -> list[Host]:
    """Two nodes, which do the work; the head has none of it."""
    return network.prepare_nodes()


@pytest.fixture(scope="module")
def clips(network: Network) -> list[Path]:
    folder = network.shared / "videos"
    return [write_clip(folder / f"{number:02}.mp4", seed=number) for number in range(24)]


def read_contents(root: Path) -> dict[str, list[bytes]]:
    """Read the bytes of all images of a store."""
    store = Store(root)
    return {
        id: [video.rgb_bytes(t) for t in range(video.num_frames)]
        + [part for t in range(video.num_flow) for part in video.flow_bytes(t)]
        for id in store
        for video in [store[id]]
    }


def list_committed(root: Path):
    """List the videos of all commit records: a video that counts twice is there twice."""
    return [video for path in record_paths(root) for video in read_record(path).videos]


def start(network: Network, root: Path, clips, seconds: float) -> subprocess.Popen:
    """Start an extraction on the head's host, where each video takes some seconds longer."""
    return network.hosts[0].start(
        sys.executable, script.__file__, root, network.address, seconds, *clips
    )


def finish(process: subprocess.Popen, root: Path, clips, timeout: float = 600) -> str:
    """Wait for an extraction, compare the store with a local one, and return what was printed."""
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors
    summary = json.loads(output.splitlines()[-1])
    assert summary == {"extracted": len(clips), "failed": [], "left": 0}, errors
    committed = [video.id for video in list_committed(root)]
    assert sorted(committed) == sorted(clip.name for clip in clips)  # none twice
    assert not verify(root).problems
    local = root.with_name(f"{root.name}-local")
    extract(explicit_files(clips), local, script.RECIPE, Options(workers=0))
    assert read_contents(root) == read_contents(local)
    return errors


def test_two_hosts_extract_what_one_does(network, nodes, clips):
    root = network.shared / "two"
    finish(start(network, root, clips[:8], 0.3), root, clips[:8])
    hosts = {video.provenance["host"].partition("/")[0] for video in list_committed(root)}
    assert hosts == {host.name for host in nodes}


def test_two_hosts_train_and_make_features(network, nodes):
    store = write_store(network.shared / "T", [f"video {n:02}" for n in range(12)], frames=9)
    run = network.shared / "R"
    done = network.hosts[0].flowkit(
        "train", "motion8_cma", "--store", store, "--run", run, *TRAIN,
        "--processes", 2, "--workers", 0, RAY_ADDRESS=network.address,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    phases = ("flow", "rgb", "iter_1", "uniform")
    assert [line.partition(":")[0] for line in lines if "epoch 1/1" in line] == list(phases)
    assert all((run / "phases" / phase / "weights.pt").is_file() for phase in phases)
    done = network.hosts[0].flowkit(
        "features", "--store", store, "--model", run, "--stream", "rgb", "--name", "rgb",
        "--positions", 3, "--address", network.address, "--workers", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    opened = Store(store)
    assert all("features/rgb" in opened[id].streams for id in opened)


def hide(host: Host, folder: Path) -> None:
    """Let a host see an empty folder, as if a file system were not mounted there."""
    assert host.run("mount", "-t", "tmpfs", "tmpfs", folder).returncode == 0


def test_a_host_that_does_not_see_the_store(network, nodes, clips):
    root, second = network.shared / "hidden" / "S", nodes[1]
    root.parent.mkdir()
    hide(second, root.parent)
    try:
        done = network.hosts[0].flowkit(
            "extract", *clips[:4], "--store", root, "--size", "32x32",
            "--address", network.address,
        )  # fmt: skip
    finally:
        second.run("umount", root.parent)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: node {second.name}/")
    assert f"does not see the store at {root}: put it on a path that every node mounts" in line


def test_a_host_that_does_not_see_the_run(network, nodes):
    store, folder, second = network.shared / "T", network.shared / "runs", nodes[1]
    folder.mkdir()
    hide(second, folder)
    try:
        done = network.hosts[0].flowkit(
            "train", "motion8_cma", "--store", store, "--run", folder / "R", *TRAIN,
            "--processes", 2, "--workers", 0, RAY_ADDRESS=network.address,
        )  # fmt: skip
    finally:
        second.run("umount", folder)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line == (
        f"error: node {second.name} ({second.address}) does not see the run at {folder / 'R'}: "
        "put it on a path that every node mounts"
    )


def test_the_token_that_a_cluster_asks_for(network, nodes):
    host = network.add_host()
    address = ("doctor", "--quick", "--json", "--address", network.address)

    def find() -> dict[str, str]:
        done = host.flowkit(*address)
        return [f for f in json.loads(done.stdout) if f["topic"] == "ray"][-1]

    assert find()["status"] == "ok"
    host.run("rm", "/tmp/home/.ray/auth_token")
    finding = find()
    assert finding["status"] == "fail"
    assert "token" in finding["message"] and "~/.ray/auth_token" in finding["advice"]
    host.run("sh", "-c", "printf wrong-wrong-wrong > ~/.ray/auth_token")
    assert find()["status"] == "fail"
    host.write_token()


# Slurm's commands, on the machine that runs the script of a job and on the nodes.
BATCH = {
    "srun": """
while [ "${1#-}" != "$1" ]; do case "$1" in --nodelist=*) node=${1#*=};; esac; shift; done
exec nsenter -t "$(cat "$FOLDER/$node")" -m -u -n -p -- env PATH="$FOLDER/node:$PATH" "$@"
""",
    "scontrol": 'cat "$FOLDER/nodes"',
    "ray": 'exec srun --nodelist="$(head -n 1 "$FOLDER/nodes")" ray "$@"',
    "flowkit": 'exec srun --nodelist="$(head -n 1 "$FOLDER/nodes")" flowkit "$@"',
}
NODE = {
    "ray": f'exec {sys.executable} -c "from ray.scripts.scripts import main; main()" "$@"',
    "flowkit": f'exec {sys.executable} -m flowkit "$@"',
}


def test_the_script_for_slurm_on_two_nodes(network, clips):
    hosts, folder = [network.add_host() for _ in range(2)], network.shared / "slurm"
    for name, commands in (("batch", BATCH), ("node", NODE)):
        (folder / name).mkdir(parents=True)
        for command, lines in commands.items():
            path = folder / name / command
            path.write_text(f"#!/bin/sh\n{lines}\n")
            path.chmod(0o755)
    for host in hosts:
        (folder / host.name).write_text(str(host.first))
    (folder / "nodes").write_text("".join(f"{host.name}\n" for host in hosts))
    (folder / "ray.sbatch").write_text(read_script("ray.sbatch"))
    root = network.shared / "by-slurm"
    variables = hosts[0].make_environment(
        FOLDER=str(folder), HOME=str(folder), PATH=f"{folder / 'batch'}:{os.environ['PATH']}",
        SLURM_JOB_ID="7", SLURM_JOB_NODELIST="node[1-2]", SLURM_CPUS_PER_TASK="1",
    )  # fmt: skip
    command = ["flowkit", "extract", *clips, "--store", root, "--size", "32x32"]
    # What it leaves on the hosts would keep a pipe open.
    with (folder / "errors").open("w") as errors:
        done = subprocess.run(
            ["bash", folder / "ray.sbatch", *command], env=variables, stdin=subprocess.DEVNULL,
            stdout=errors, stderr=errors, timeout=600,
        )  # fmt: skip
    assert done.returncode == 0, (folder / "errors").read_text()
    assert sorted(Store(root)) == sorted(clip.name for clip in clips)
    assert not (folder / ".ray-token-7").exists()
    for host in hosts:
        host.kill()


def test_a_link_that_is_cut_for_a_minute(network, nodes, clips):
    root, second = network.shared / "cut", nodes[1]
    process = start(network, root, clips, 6)
    wait_until(lambda: len(find_hosts(root)) == 2, 120)
    second.cut()
    time.sleep(60)
    second.restore()
    errors = finish(process, root, clips)
    assert errors.count("retrying") <= 1  # the node has one core, and so one video in flight


def test_a_node_is_killed_and_another_joins_late(network, nodes, clips):
    second = nodes[1]
    root = network.shared / "killed"
    process = start(network, root, clips, 4)
    wait_until(lambda: len(find_hosts(root)) == 2, 120)
    second.kill()
    late = network.add_node()
    errors = finish(process, root, clips)
    assert errors.count("retrying") <= 1
    hosts = {video.provenance["host"].partition("/")[0] for video in list_committed(root)}
    assert {second.name, late.name} <= hosts


def find_hosts(root: Path) -> set[str]:
    """Find the hosts that have committed videos."""
    if not root.is_dir():
        return set()
    return {video.provenance["host"].partition("/")[0] for video in list_committed(root)}
