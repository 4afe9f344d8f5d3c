"""The whole command: findings, exit codes, what it leaves, and how it does without packages."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flowkit.catalog import Dataset
from flowkit.cli import main
from flowkit.doctor import diagnose
from flowkit.doctor.finding import Finding

WAIT_SECONDS = 120
Topics = Callable[[list[Finding]], dict[str, Finding]]


def test_a_healthy_machine_has_no_finding_and_nothing_is_left(
    doctor: Any, by_topic: Topics
) -> None:
    code, findings = doctor.run("--store", str(doctor.folder))
    topics = by_topic(findings)
    assert code == 0, findings
    ours = {"packages", "names", "cores", "memory", "disk", "file system", "open files",
            "shared memory", "gpu"}  # fmt: skip # of the machine that runs the tests
    assert {f.topic: f.message for f in findings if f.status != "ok" and f.topic not in ours} == {}
    assert "worker of this machine imported flowkit in" in topics["ray worker"].message
    assert "1 step for RGB and 1 for flow on" in topics["training"].message
    assert doctor.made() == []
    assert doctor.processes() == []


# The true Ray worker is in the first test, and takes longest.
SKIP_RAY = "import flowkit.doctor.ray_worker as r; r.try_ray_worker = lambda **_: 'not tried'"

# Files that are there once a stage has begun. Ray's session may be in either folder, whichever
# has a path that is short enough for its sockets.
STAGES = {
    "extraction": ("t/flowkit-doctor-*/videos",),
    "ray": ("r/fk-*/ray/session_*", "t/flowkit-ray-*/r/session_*"),
    "training": ("t/flowkit-doctor-*/training/run/phases/*",),
}


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("extraction", signal.SIGINT),
        ("ray", signal.SIGINT),
        pytest.param("ray", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("training", signal.SIGINT, marks=pytest.mark.slow),
        ("training", signal.SIGTERM),
    ],
)
def test_an_interrupt_leaves_nothing(doctor: Any, stage: str, number: signal.Signals) -> None:
    process = doctor.start(code=SKIP_RAY if stage == "training" else "")
    end = time.monotonic() + WAIT_SECONDS
    while not any(list(doctor.folder.glob(pattern)) for pattern in STAGES[stage]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to all of the foreground
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130, errors
    assert output == ""
    assert errors.endswith("interrupted\n")
    assert doctor.made() == []
    assert doctor.processes() == []


BROKEN = "import sys\nfor name in {names!r}: sys.modules[name] = None"
EVERYTHING = [
    "av", "cv2", "jinja2", "matplotlib", "numba", "numpy", "packaging", "psutil", "pyarrow",
    "pydantic", "ray", "rich", "safetensors", "simplejpeg", "sklearn", "tensorboardX", "torch",
    "yaml",
]  # fmt: skip


def test_without_any_package_every_check_says_so(doctor: Any, by_topic: Topics) -> None:
    code, findings = doctor.run("--quick", code=BROKEN.format(names=EVERYTHING))
    assert code == 1
    topics = by_topic(findings)
    for topic in ("packages", "codecs", "flow", "ray", "memory", "open"):
        assert topics[topic].status == "fail", topic
        assert "cannot be imported" in topics[topic].message
        assert topics[topic].advice
    for topic in ("python", "cores", "open files", "temporary", "home", "encoding", "disk"):
        assert topics[topic].status in ("ok", "warn"), topic
    assert topics["decode"].status == topics["read store"].status == "skip"


@pytest.mark.parametrize(
    ("name", "failed", "advice"),
    [
        ("simplejpeg", "encode", "simplejpeg"),
        ("psutil", "memory", "psutil"),
        ("tensorboardX", "training", "tensorboardX"),
        ("torch", "training", "torch"),
    ],
)
def test_one_broken_package_is_named(
    doctor: Any, by_topic: Topics, name: str, failed: str, advice: str
) -> None:
    code, findings = doctor.run(code=f"{BROKEN.format(names=[name])}\n{SKIP_RAY}")
    topics = by_topic(findings)
    assert code == 1
    assert topics[failed].status == "fail"
    assert name in topics[failed].message
    assert advice in topics[failed].advice
    assert topics["decode"].status == "ok" or name == "psutil"


def test_every_finding_that_is_not_ok_says_what_to_do(
    tmp_path: Path, ucf101: Dataset, by_topic: Topics
) -> None:
    asked: list[str] = []
    findings = diagnose(tmp_path / "store", ucf101, quick=True, progress=asked.append)
    topics = by_topic(findings)
    assert set(topics) >= {
        "python", "packages", "names", "codecs", "flow", "gpu", "ray", "cores", "memory",
        "open files", "shared memory", "temporary", "home", "encoding", "disk", "file system",
        "clock", "dataset", "open", "decode", "read store",
    }  # fmt: skip
    assert not set(topics) & {"ray worker", "training"}
    assert set(asked) <= set(topics)
    assert {"packages", "compute flow"} <= set(asked)
    assert all(finding.advice for finding in findings if finding.status in ("warn", "fail"))
    here = {topic: finding.status for topic, finding in topics.items()}
    assert here["codecs"] == here["flow"] == here["ray"] == here["python"] == "ok"
    assert here["dataset"] == "fail"
    assert not (tmp_path / "store").exists()


def test_the_command_and_its_exit_code(tmp_path: Path, ucf101: Dataset, catalog: Path) -> None:
    arguments = ["doctor", "--quick", "--store", str(tmp_path), "--catalog", str(catalog)]
    asked = CliRunner().invoke(main, [*arguments, "--dataset", "ucf101", "--json"])
    findings = [Finding(**item) for item in json.loads(asked.stdout)]
    assert asked.exit_code == 1
    assert [f.topic for f in findings if f.status == "fail"][-1] == "dataset"
    plain = CliRunner().invoke(main, [*arguments, "--dataset", "ucf101"]).output
    assert "→ Download UCF101.rar" in plain
    assert "ucf101: no videos in" in plain
    assert list(tmp_path.iterdir()) == []


def test_the_exit_code_without_a_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("a", "warn", "b", "c"), Finding("d", "skip", "e")]
    monkeypatch.setattr("flowkit.doctor.diagnose", lambda *_, **__: found)
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, result.output) == (0, "warn  a  b\n         → c\nskip  d  e\n")
