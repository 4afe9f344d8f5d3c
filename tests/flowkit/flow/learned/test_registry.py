"""The registry, and what is said where torchvision is missing or broken."""

import subprocess
import sys

import pytest

from flowkit.errors import FlowError, UsageError
from flowkit.flow.learned import torchvision_import
from flowkit.flow.learned.registry import METHODS, find_method, find_usable_method


def test_methods_are_found_by_name():
    assert {"raft_large", "raft_small"} <= set(METHODS)
    assert find_method("raft_large") is METHODS["raft_large"]
    with pytest.raises(UsageError, match=r"did you mean 'raft_small'.* tvl1, raft_large, raft_sma"):
        find_method("raft_smal")


def test_without_torchvision_the_extra_is_named(monkeypatch):
    torchvision_import.import_raft.cache_clear()
    monkeypatch.setattr(torchvision_import, "find_spec", lambda name: None)
    with pytest.raises(
        FlowError,
        match=r"raft_large cannot run here: torchvision is not installed: pip install "
        r"'flowkit-video\[learned\]'",
    ):
        find_usable_method("raft_large")


@pytest.mark.parametrize(
    "body",
    [
        "raise ImportError('libcudart.so.13: cannot open shared object file')",
        "raise RuntimeError('operator torchvision::nms does not exist')",  # even after declaring
        "raise RuntimeError('torch and torchvision have other CUDA versions')",
    ],
)
def test_a_torchvision_that_cannot_be_imported_is_explained(body, tmp_path):
    """In a process of its own, since operators that were declared stay declared."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(body)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "from flowkit.flow.learned.torchvision_import import find_obstacle; print(find_obstacle())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    reason = body.split("'")[1]
    assert "cannot be imported with torch" in result.stdout and reason in result.stdout
    assert "the version of torchvision that belongs to this version of torch" in result.stdout


def test_the_registry_loads_without_torch():
    """`flowkit extract --help` and the recipe of a store need the names only."""
    code = (
        "import sys; import flowkit.flow.learned.registry, flowkit.flow.learned.solver;"
        "sys.exit(bool({'torch', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
