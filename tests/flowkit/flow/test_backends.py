import subprocess
import sys

import numpy as np
import pytest

import flowkit.flow
from flowkit.errors import FlowError, UsageError
from flowkit.flow import BACKENDS, available_backends, resolve_backend, tvl1
from flowkit.flow.backends import Backend, load_backend


def test_importing_the_package_stays_light():
    code = (
        "import sys, flowkit.flow, flowkit.flow.params;"
        "assert not {'numpy', 'numba', 'cv2'} & set(sys.modules);"
        "flowkit.flow.tvl1, flowkit.flow.resolve_backend();"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    for name in flowkit.flow.__all__:
        assert getattr(flowkit.flow, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        flowkit.flow.nonsense  # noqa: B018


def test_the_function_quantize_is_not_hidden_by_its_module():
    code = (
        "import flowkit.flow.quantize; from flowkit.flow import quantize; assert callable(quantize)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_takes_the_first_that_can_run(monkeypatch):
    assert resolve_backend() == "numba"
    monkeypatch.setitem(BACKENDS, "numba", Backend("nowhere", lambda: "it rains"))
    assert resolve_backend("auto") == "opencv"
    assert available_backends()["numba"] == "it rains"
    monkeypatch.setitem(BACKENDS, "opencv", Backend("nowhere", lambda: "it snows"))
    with pytest.raises(FlowError, match="numba: it rains; opencv: it snows"):
        resolve_backend("auto")
    with pytest.raises(FlowError, match="'opencv' cannot run here: it snows"):
        resolve_backend("opencv")


def test_unknown_names_get_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'numba'"):
        resolve_backend("nubma")
    with pytest.raises(UsageError, match="there are auto, numba, opencv"):
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
