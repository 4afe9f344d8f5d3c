"""Where there is no GPU, Triton's kernels run in its interpreter: on the CPU, slowly, the same."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

from flowkit.flow.backends import count_gpus

if count_gpus() == 0 and find_spec("triton"):
    # Triton decides when it is imported. Other tests shall not see the variable.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        import triton.runtime.interpreter

        # It checks each sum and product of integers for overflow, in a quarter of its time, and
        # drops the outcome, since it reports overflows only in debug mode.
        builder = triton.runtime.interpreter.interpreter_builder
        if not builder.options.debug:
            builder.options = replace(builder.options, sanitize_overflow=False)


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """Triton reads the variable again for each kernel, flowkit whenever it uses them."""
    if count_gpus() == 0:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
