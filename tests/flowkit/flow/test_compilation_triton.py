"""The kernels as a GPU would get them: compiled here, without one."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

KERNELS = ("solve", "solve_quantized", "build_level", "build_first_level")

COMPILE = """
import json, sys
from flowkit.flow.compilation_triton import compile_kernels
kernels = compile_kernels(int(sys.argv[1]))
print(json.dumps({name: kernel.asm["ptx"] for name, kernel in kernels.items()}))
"""


def compile_apart(*capabilities):
    """PTX by capability and kernel, from processes of their own: in this one Triton interprets."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [
        subprocess.Popen([sys.executable, "-c", COMPILE, str(capability)], env=environment, **pipes)
        for capability in capabilities
    ]
    answers = [run.communicate() for run in runs]
    for run, (_, complaint) in zip(runs, answers, strict=True):
        assert run.returncode == 0, complaint
    outputs = (json.loads(output) for output, _ in answers)
    return dict(zip(capabilities, outputs, strict=True))


@pytest.fixture(scope="module")
def compiled():
    return compile_apart(80, 90)


@pytest.mark.parametrize("capability", [80, 90])
def test_every_kernel_compiles(capability, compiled):
    assert tuple(compiled[capability]) == KERNELS
    for ptx in compiled[capability].values():
        assert f".target sm_{capability}" in ptx


@pytest.mark.slow
def test_every_kernel_compiles_for_the_oldest_gpu():
    from flowkit.flow.backends import OLDEST_CAPABILITY

    capability = 10 * OLDEST_CAPABILITY[0] + OLDEST_CAPABILITY[1]
    assert tuple(compile_apart(capability)[capability]) == KERNELS


@pytest.mark.parametrize("capability", [80, 90])
def test_lanes_exchange_by_shuffles(capability, compiled):
    # Four for each iteration in flight, in sweeps of four, two and one.
    assert compiled[capability]["solve"].count("shfl.sync.idx") == 4 * (4 + 2 + 1)


@pytest.mark.parametrize("capability", [80, 90])
def test_what_one_warp_wrote_is_not_read_through_the_cache_of_constants(capability, compiled):
    ptx = compiled[capability]["solve"]
    assert "ld.global" in ptx and "ld.global.nc" not in ptx
    assert ptx.count("bar.sync") >= 5  # after starting a level, a warp, each kind of sweep
