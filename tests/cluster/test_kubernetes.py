"""The manifests of docs/kubernetes.md: their fields, and the commands that they run."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.store import Store
from tests.conftest import write_clip

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
# KubeRay's API reference, ray.io/v1: the fields of each object that the manifests use or may use.
FIELDS = {
    "RayJobSpec": {
        "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate",
        "clusterSelector", "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode",
        "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
        "shutdownAfterJobFinishes", "suspend",
    },
    "RayClusterSpec": {
        "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions",
        "headGroupSpec", "rayVersion", "suspend", "workerGroupSpecs",
    },
    "HeadGroupSpec": {"template", "headService", "rayStartParams", "serviceType"},
    "WorkerGroupSpec": {
        "groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams",
        "template", "suspend",
    },
    "JobSpec": {  # of batch/v1
        "activeDeadlineSeconds", "backoffLimit", "backoffLimitPerIndex", "completionMode",
        "completions", "parallelism", "suspend", "template", "ttlSecondsAfterFinished",
    },
}  # fmt: skip


def read(title: str) -> dict[str, Any]:
    """Read a manifest of the page."""
    match = re.search(rf'^```yaml title="{title}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None
    content: dict[str, Any] = yaml.safe_load(match[1])
    return content


def check_pod(template: dict[str, Any]) -> None:
    """Each mounted volume is there, and mounted; limits are not below requests."""
    [container] = template["spec"]["containers"]
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes == set(mounts)
    assert mounts["shared"] == "/shared"
    assert container["resources"]["limits"] == container["resources"]["requests"]


def run_command(line: str, tmp_path: Path) -> Store:
    """Run a manifest's extraction on two small videos, in this process."""
    for number in range(2):
        write_clip(tmp_path / "videos" / f"{number}.mp4", seed=number)
    line = line.replace("--dataset kinetics", f"--videos {tmp_path}/videos")
    line = line.replace("/shared/kinetics", f"{tmp_path}/S")
    name, *words = shlex.split(line)
    assert name == "flowkit"
    result = CliRunner().invoke(main, [*words, "--size", "32x32", "--workers", "0"])
    assert result.exit_code == 0, result.output
    return Store(tmp_path / "S")


def test_the_indexed_job(tmp_path):
    job = read("extract-job.yaml")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert set(spec) <= FIELDS["JobSpec"]
    check_pod(spec["template"])
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # backoffLimitPerIndex needs it
    [container] = spec["template"]["spec"]["containers"]
    [line] = container["args"]
    assert line.endswith(f"--shard $JOB_COMPLETION_INDEX/{spec['completions']}")
    parts = [line.replace("$JOB_COMPLETION_INDEX/16", f"{index}/2") for index in range(2)]
    counts = [len(run_command(part, tmp_path)) for part in parts]
    assert counts[-1] == 2


def test_the_ray_job(tmp_path):
    job = read("extract-rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) <= FIELDS["RayJobSpec"]
    cluster = job["spec"]["rayClusterSpec"]
    assert set(cluster) <= FIELDS["RayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    head, [workers] = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert set(head) <= FIELDS["HeadGroupSpec"] and set(workers) <= FIELDS["WorkerGroupSpec"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (head, workers):
        check_pod(group["template"])
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert f"rayproject/ray:{cluster['rayVersion']}-" in PAGE
    assert len(run_command(job["spec"]["entrypoint"], tmp_path)) == 2


def test_the_entrypoint_of_a_training_can_be_put_in_its_place():
    match = re.search(r"^```yaml\n(  entrypoint: .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None
    line = yaml.safe_load(match[1])["entrypoint"]
    assert "\n" not in line.strip()
    with pytest.raises(SystemExit):  # the options are read before anything is opened
        main([*shlex.split(line)[1:], "--help"])
