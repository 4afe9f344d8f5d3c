import builtins
import re
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import flowkit.flow
from flowkit.errors import FlowError, UsageError
from flowkit.flow import BACKENDS, available_backends, backends, resolve_backend, tvl1
from flowkit.flow.backends import (
    Backend,
    explain_fallback,
    find_interpreter_obstacle,
    load_backend,
)


def test_importing_the_package_stays_light():
    code = (
        "import sys, flowkit.flow, flowkit.flow.params;"
        "assert not {'numpy', 'numba', 'cv2', 'torch'} & set(sys.modules);"
        "flowkit.flow.tvl1, flowkit.flow.resolve_backend();"
        "assert not {'numba', 'torch', 'triton'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    for name in flowkit.flow.__all__:
        assert getattr(flowkit.flow, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        flowkit.flow.nonsense  # noqa: B018


def test_the_function_quantize_is_not_hidden_by_its_module():
    code = (
        "import flowkit.flow.quantization; from flowkit.flow import quantize; "
        "assert callable(quantize)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_takes_the_first_that_can_run(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setitem(BACKENDS, "triton", Backend("nowhere", lambda: "it is dark"))
    assert resolve_backend() == "numba"
    monkeypatch.setitem(BACKENDS, "numba", Backend("nowhere", lambda: "it rains"))
    assert resolve_backend("auto") == "opencv"
    assert available_backends()["numba"] == "it rains"
    monkeypatch.setitem(BACKENDS, "opencv", Backend("nowhere", lambda: "it snows"))
    with pytest.raises(FlowError, match="triton: it is dark; numba: it rains; opencv: it snows"):
        resolve_backend("auto")
    with pytest.raises(FlowError, match="'opencv' cannot run here: it snows"):
        resolve_backend("opencv")


def test_unknown_names_get_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'numba'"):
        resolve_backend("nubma")
    with pytest.raises(UsageError, match="there are auto, triton, numba, opencv"):
        tvl1(np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8), backend="quux")


def test_missing_builds_say_why():
    for name, obstacle in available_backends().items():
        if obstacle is not None:
            with pytest.raises(FlowError, match="cannot run here"):
                resolve_backend(name)


def test_no_place_for_compiled_code_is_explained(monkeypatch):
    def fail(_):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("flowkit.flow.backends.import_module", fail)
    with pytest.raises(FlowError, match="set NUMBA_CACHE_DIR"):
        load_backend("numba")


def test_packages_that_do_not_fit_are_explained(monkeypatch):
    def fail(_):
        raise ImportError("Numba needs NumPy 2.3 or less")

    monkeypatch.setattr("flowkit.flow.backends.import_module", fail)
    with pytest.raises(FlowError, match=r"'numba' cannot be loaded \(Numba needs NumPy 2.3"):
        load_backend("numba")


# --- triton, on machines that are not this one ---------------------------------------------------


class FakeCuda:
    def __init__(self, available=True, capability=(9, 0)):
        self.available, self.capability = available, capability

    def is_available(self):
        return self.available

    def get_device_capability(self):
        return self.capability

    def get_device_name(self):
        return "GeForce GTX 1080"


@pytest.fixture
def pretend(monkeypatch):
    """A machine with that torch, that many GPUs, and no interpreter."""

    def pretend(torch="2.13.0+cu130", gpus=1, cuda=None, lacks=()):
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        monkeypatch.setattr(backends, "find_spec", lambda name: None if name in lacks else name)
        monkeypatch.setattr(backends, "version", lambda _: torch)
        monkeypatch.setattr(backends, "count_gpus", lambda: gpus)
        module = ModuleType("torch")
        module.__version__, module.cuda = torch, cuda or FakeCuda()
        monkeypatch.setitem(sys.modules, "torch", module)

    return pretend


@pytest.mark.parametrize(
    ("machine", "obstacle", "explained"),
    [
        ({}, None, False),
        ({"gpus": 0}, "no NVIDIA GPU here", False),
        ({"lacks": ("torch",)}, "torch is not installed", True),
        ({"lacks": ("triton",), "torch": "2.13.0+cpu"}, r"2.13.0\+cpu came without Triton", True),
        ({"torch": "2.13.0+rocm7.1", "gpus": 0}, "built for ROCm", True),
        ({"torch": "2.13.0+cpu", "cuda": FakeCuda(available=False)}, "cannot use the GPU", True),
        ({"cuda": FakeCuda(capability=(6, 1))}, "GTX 1080 has compute capability 6.1", True),
    ],
)
def test_auto_takes_the_gpu_or_says_why_not(machine, obstacle, explained, pretend):
    pretend(**machine)
    found, line = BACKENDS["triton"].find_obstacle(), explain_fallback()
    if obstacle is None:
        assert (found, line, resolve_backend("auto")) == (None, None, "triton")
        return
    assert re.search(obstacle, found)
    assert (line is not None) == explained
    if explained:
        assert line.startswith("flow runs on the CPU") and line.endswith(found)
        assert "\n" not in line
    with pytest.raises(FlowError, match="backend 'triton' cannot run here"):
        resolve_backend("triton")
    if "torch" not in machine.get("lacks", ()):
        assert resolve_backend("auto") == "numba"


def test_auto_never_takes_the_interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert resolve_backend("auto") == "numba"


def test_the_interpreter_is_named_as_the_reason(pretend, monkeypatch):
    pretend()
    monkeypatch.setattr(backends, "find_interpreter_obstacle", lambda: None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "TRITON_INTERPRET=1 runs its kernels in an interpreter" in explain_fallback()
    monkeypatch.setattr(backends, "count_gpus", lambda: 0)
    assert explain_fallback() is None


@pytest.mark.parametrize(
    ("package", "version", "obstacle"),
    [
        ("triton", "3.7.0", None),
        ("pytorch-triton", "3.7.1+git1a2b", None),
        ("pytorch-triton-rocm", "3.4.0", "Triton 3.4.0 lacks nested tuples, which 3.7 has"),
        ("another", "3.7.0", "the version of Triton is unknown: none of triton, pytorch-triton"),
    ],
)
def test_triton_under_its_other_names(monkeypatch, package, version, obstacle):
    found = SimpleNamespace(version=version)
    monkeypatch.setattr(backends, "find_spec", lambda name: name)
    monkeypatch.setattr(backends, "distributions", lambda name: [found] if name == package else [])
    if obstacle is None:
        assert find_interpreter_obstacle() is None
    else:
        assert obstacle in find_interpreter_obstacle()


def test_a_torch_that_cannot_be_imported_is_an_obstacle(pretend, monkeypatch):
    def fail(name, *arguments):
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file")
        return real_import(name, *arguments)

    pretend()
    real_import = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", fail)
    assert "torch cannot be imported (libcudart" in BACKENDS["triton"].find_obstacle()
    assert resolve_backend("auto") == "numba"
