"""Flow backends, GPUs and the address of a Ray cluster."""

import re
import socket
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from flowkit.doctor import backends
from flowkit.doctor.finding import Finding
from flowkit.extraction import ray_token


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_flow_backends() -> None:
    finding = only(backends.report_backends({"numba": None, "opencv-cuda": "not built"}))
    assert finding == Finding("flow", "ok", "numba (not opencv-cuda: not built)")
    assert only(backends.report_backends({"numba": "no LLVM"})).status == "fail"


def test_learned_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    registry = import_module("flowkit.flow.learned.registry")
    usable, unusable = (
        replace(registry.METHODS["raft_small"], find_obstacle=lambda reason=reason: reason)
        for reason in (None, "torchvision is not installed: pip install it")
    )
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(registry, "METHODS", {"a": usable, "b": unusable, "c": unusable})
    finding = backends.report_learned_methods()
    assert finding == Finding(
        "flow",
        "ok",
        "learned methods: a (weights not on this machine: --flow-weights FILE); "
        "b, c (torchvision is not installed: pip install it)",
    )
    file = tmp_path / "hub" / "checkpoints" / usable.weights_file
    file.parent.mkdir(parents=True)
    file.touch()
    assert f"a (weights at {file})" in backends.report_learned_methods().message


def fake_nvidia_smi(folder: Path, script: str) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert "no NVIDIA driver" in only(backends.check_gpu()).message
    fake_nvidia_smi(tmp_path, "echo 'NVIDIA H100, 81559 MiB, 550.54'")
    assert only(backends.check_gpu()).message == "GPU 0: NVIDIA H100, 81559 MiB, 550.54"
    fake_nvidia_smi(tmp_path, "exit 9")
    assert only(backends.check_gpu()).status == "warn"


def test_ray_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_token, "check_health", lambda address, mode: "")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # runs of other tests on clusters set it
    assert len(backends.check_ray("")) == 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert backends.check_ray(address)[-1].status == "ok"
        assert backends.check_ray(f"ray://{address}")[-1].status == "ok"
    closed = backends.check_ray(address)[-1]
    assert closed.status == "fail"
    assert f"no answer from --address={address}" in closed.message
    assert "expected --address as host:port" in backends.check_ray("head")[-1].message
    monkeypatch.setenv("RAY_ADDRESS", address)
    [_, closed] = backends.check_ray()
    assert f"no answer from RAY_ADDRESS={address}" in closed.message
    assert closed.advice.endswith("without RAY_ADDRESS")


REFUSED = "AuthenticationError: RPC error: InvalidAuthToken: Authentication token is missing"
COPY = "copy ~/.ray/auth_token of the head node"
# Where the user's token is, RAY_AUTH_MODE, what the cluster answers to (disabled, token), and what
# the finding says.
TOKENS = {
    "no token is asked for": ("", None, ("", ""), ""),
    "no token is asked for, but sent": (
        "", "token", ("", ""), "asks for no token, but RAY_AUTH_MODE=token → unset RAY_AUTH_MODE",
    ),
    "the token is right": ("file", None, (REFUSED, ""), ""),
    "the token is in a variable": ("variable", "token", (REFUSED, ""), ""),
    "there is no token": ("", None, (REFUSED, REFUSED), f"this user has none → {COPY}"),
    "the token is wrong": ("file", None, (REFUSED, REFUSED), f"refuses the token of .* → {COPY}"),
    "the token is not sent": (
        "file", "disabled", (REFUSED, ""), "RAY_AUTH_MODE=disabled → export RAY_AUTH_MODE=token",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOKENS)
def test_the_token_of_a_ray_cluster(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, mode, answers, expected = TOKENS[case]
    answer = dict(zip(("disabled", "token"), answers, strict=True))
    monkeypatch.setattr(ray_token, "check_health", lambda address, mode: answer[mode])
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if place == "file":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("0123")
    elif place:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0123")
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    finding = backends.check_token("head:6379")
    assert finding.status == ("fail" if expected else "ok")
    assert re.search(expected, f"{finding.message} → {finding.advice}")
