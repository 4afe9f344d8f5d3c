"""Where there is no GPU, Triton's kernels run in its interpreter: on the CPU, slowly, the same."""

from importlib.util import find_spec

import pytest

from flowkit.flow.backends import count_gpus

if count_gpus() == 0 and find_spec("triton"):
    # Triton decides when it is imported. Other tests shall not see the variable.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        import triton  # noqa: F401


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """Triton reads the variable again for each kernel, flowkit whenever it uses them."""
    if count_gpus() == 0:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
