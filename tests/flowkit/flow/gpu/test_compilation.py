"""The kernels as a GPU would get them: compiled here, without one."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

KERNELS = ("solve", "solve_quantized", "solve_filtered", "build_level", "build_first_level")
SOLVERS = {"solve": 5, "solve_quantized": 5, "solve_filtered": 6}  # how many barriers each asks for

# The versions of Triton that a supported torch brings, 2.8 to 2.15.
VERSIONS = ("3.4.0", "3.5.1", "3.6.0", "3.7.1", "3.8.0", "3.9.0")
CAPABILITIES = (80, 90)
BENCHMARK = Path(__file__).resolve().parents[4] / "benchmarks" / "kernels.py"

COMPILE = """
import json, sys
from dataclasses import asdict
sys.path.insert(0, sys.argv[2])
from kernel_compilation import compile_kernels
from kernel_inspection import inspect_solver
capability = int(sys.argv[1])
kernels = compile_kernels(capability)
ptx = {name: kernel.asm["ptx"] for name, kernel in kernels.items()}
counts = {name: asdict(inspect_solver(capability, name)) for name in kernels if "solve" in name}
print(json.dumps({"ptx": ptx, "counts": counts}))
"""


def without_interpreter():
    return {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}


def compile_apart(*capabilities):
    """By capability the PTX of each kernel, and counts of those that solve.

    Compiled in processes of their own: in this one Triton interprets.
    """
    environment = without_interpreter()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", COMPILE, str(capability), BENCHMARK.parent],
            env=environment,
            **pipes,
        )
        for capability in capabilities
    ]
    answers = [run.communicate() for run in runs]
    for run, (_, complaint) in zip(runs, answers, strict=True):
        assert run.returncode == 0, complaint
    outputs = (json.loads(output) for output, _ in answers)
    return dict(zip(capabilities, outputs, strict=True))


@pytest.fixture(scope="module")
def compiled():
    return compile_apart(*CAPABILITIES)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_kernel_compiles(capability, compiled):
    assert tuple(compiled[capability]["ptx"]) == KERNELS
    for ptx in compiled[capability]["ptx"].values():
        assert f".target sm_{capability}" in ptx


@pytest.mark.slow
def test_every_kernel_compiles_for_the_oldest_gpu():
    from flowkit.flow.backends import MIN_CAPABILITY

    capability = 10 * MIN_CAPABILITY[0] + MIN_CAPABILITY[1]
    assert tuple(compile_apart(capability)[capability]["ptx"]) == KERNELS


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_lanes_exchange_by_shuffles(capability, compiled):
    # Four for each iteration in flight, in sweeps of four, two and one.
    assert compiled[capability]["ptx"]["solve"].count("shfl.sync.idx") == 4 * (4 + 2 + 1)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_what_one_warp_wrote_is_not_read_through_the_cache_of_constants(capability, compiled):
    ptx = compiled[capability]["ptx"]["solve"]
    assert "ld.global" in ptx and "ld.global.nc" not in ptx


def check_counts(counts, fences):
    """Assert that a version of Triton compiled the solver as it is meant to run.

    It asks for a barrier after starting a level, after a warp, after each of three kinds of
    sweep, and after a median filter if it has one. In PTX a sweep has one or two more for its
    sum, and its end may be common to all kinds.
    """
    assert counts["conversions"] == 0
    assert counts["scattered"] == 0
    assert counts["fences"] == fences
    assert fences - 1 <= counts["barriers"] <= fences + 3
    step = counts["step"]
    assert not step.keys() & {"BAR", "LDS", "STS"}
    assert step["SHFL"] == 16 and step["LDG"] == 20 and step["STG"] == 12


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_warp_takes_a_row_and_no_step_waits(capability, compiled):
    assert compiled[capability]["counts"].keys() == SOLVERS.keys()
    for name, counts in compiled[capability]["counts"].items():
        check_counts(counts, SOLVERS[name])


LAYOUTS = """
#blocked = #ttg.blocked<{sizePerThread = [1, 1], threadsPerWarp = [8, 4], order = [0, 1]}>
#blocked1 = #ttg.blocked<{sizePerThread = [1, 1], threadsPerWarp = [1, 32], order = [1, 0]}>
    %a = tt.load %b : tensor<8x32x!tt.ptr<f32>, #blocked> loc(#loc1)
    %c = tt.load %d, %e, %f : tensor<8x32x!tt.ptr<f32>, #blocked1> loc(#loc2)
    tt.store %g, %a, %e : tensor<8x32x!tt.ptr<f32>, #blocked> loc(#loc3)
    tt.store %h, %i : !tt.ptr<i64> loc(#loc4)
"""


def test_loads_across_rows_are_counted(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    from kernel_inspection import count_scattered

    assert count_scattered(LAYOUTS) == 2
    assert count_scattered(LAYOUTS.replace("[8, 4]", "[1, 32]")) == 0
    with pytest.raises(ValueError, match="recognized"):
        count_scattered("module {}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_version_of_triton_compiles_the_solver_well(tmp_path):
    output = tmp_path / "counts.json"
    command = [sys.executable, str(BENCHMARK), "--json", str(output), "--triton", *VERSIONS]
    root = BENCHMARK.parents[1]
    environment = without_interpreter() | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if "cannot install" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    names = ("solve_quantized", "solve_filtered")
    expected = list(product(VERSIONS, CAPABILITIES, names))
    keys = ("triton", "capability", "kernel")
    assert [tuple(counts[key] for key in keys) for counts in found] == expected
    for counts in found:
        check_counts(counts, SOLVERS[counts["kernel"]])
        assert counts["registers"] <= 128
        spilled = counts["step"].get("LDL", 0) + counts["step"].get("STL", 0)
        # A few of the 550 instructions spill on sm_80, none on sm_90 (RESULTS.md).
        assert spilled <= (3 if counts["capability"] == 80 else 0), counts
        assert sum(counts["step"].values()) <= 560, counts
