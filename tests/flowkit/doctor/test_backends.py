"""Flow backends, GPUs and the address of a Ray cluster."""

import socket
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from flowkit.doctor import backends
from flowkit.doctor.finding import Finding


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


def test_ray_address() -> None:
    assert len(backends.check_ray("")) == 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert backends.check_ray(address)[-1].status == "ok"
        assert backends.check_ray(f"ray://{address}")[-1].status == "ok"
    closed = backends.check_ray(address)[-1]
    assert closed.status == "fail"
    assert f"no answer from RAY_ADDRESS={address}" in closed.message
    assert "expected RAY_ADDRESS as host:port" in backends.check_ray("head")[-1].message
