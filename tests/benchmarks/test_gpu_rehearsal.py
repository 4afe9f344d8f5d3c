"""All that benchmarks/gpu.py does on a GPU machine, done at tiny sizes on one that is as bare."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


# What this environment adds is not on the other machine; the script finds flowkit by itself.
VARIABLES = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TRITON_INTERPRET")}


def run(python, *arguments, timeout=1500):
    command = [str(python), str(SCRIPT), *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=VARIABLES, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.usefixtures("triton_interpreter")
@pytest.mark.timeout(1800)  # about a minute on a quiet machine
def test_a_bare_machine_runs_every_step_with_the_pack(tmp_path, make_clip):
    """The environment is made of the pack on top of another one, as there; without Ray."""
    bare = import_module("bare_python")
    tables = import_module("gpu_steps.tables")
    for number in range(2):
        make_clip(tmp_path / "real" / "clips" / f"{number}.mp4", frames=4, seed=number)
    pack = tmp_path / "pack"
    options = ["--wheels", "installed", "--python", HERE, "--data", tmp_path / "real"]
    packed = run(sys.executable, "--pack", pack, *options)
    assert packed.returncode == 0, packed.stdout + packed.stderr

    python = bare.make_bare_python(tmp_path / "bare")
    find = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    command = [str(python), "-c", find, *bare.ABSENT]
    absent = subprocess.run(
        command, cwd=tmp_path, env=VARIABLES, capture_output=True, text=True, timeout=60
    )
    assert absent.stdout.strip() == "[]", absent.stderr

    out = tmp_path / "out"
    done = run(python, "--from", pack, "--rehearse", "--results", out)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((out / "gpu.json").read_text())
    assert results["notes"] == []  # the pack was installed without a complaint
    assert {name: step["failures"] for name, step in results["steps"].items()} == {
        name: [] for name in results["steps"]
    }
    measured = {name for step in results["steps"].values() for name in step["tables"]}
    assert measured == set(tables.TABLES)
    assert "Not measured yet" not in (out / "RESULTS.md").read_text()
    agreement = results["steps"]["agreement"]["tables"]["agreement"]
    presets = import_module("flowkit.flow").PRESETS
    assert {row["preset"] for row in agreement} == set(presets)
    assert all(row["same_twice"] == row["same_in_any_batch"] == "yes" for row in agreement)
    assert all(row["mean_distance"] <= 0.01 for row in agreement)
    (extraction,) = results["steps"]["extraction"]["tables"]["extraction"]
    assert (extraction["pairs"], extraction["waited"][:5]) == (3, "busy ")


BAD_GPUS = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
import gpu
from dataclasses import replace
from flowkit.flow import backends
from gpu_steps import flow
from gpu_steps.plan import find_step, make_rehearsal

scale = replace(make_rehearsal(Path(sys.argv[2])), batches=(4, 2, 1))
working = backends.BACKENDS["triton"]
old = "Tesla K80 has compute capability 3.7, below 7.5"
backends.BACKENDS["triton"] = replace(working, find_obstacle=lambda: old)
print("codes", gpu.run_here(find_step("speed"), scale))
backends.BACKENDS["triton"] = working

def measure(pairs, size, *rest):
    if size > 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return flow_cuda.BatchRates(1.0, 2.0, 3.0)

flow.measure_batch, flow_cuda = measure, sys.modules["flow_cuda"]
print("codes", gpu.run_here(find_step("speed"), scale))
print("codes", gpu.run_here(find_step("training"), replace(scale, rehearsal=False)))
"""


@pytest.mark.usefixtures("triton_interpreter")
def test_an_old_gpu_none_at_all_and_too_little_memory_are_a_line_each(tmp_path):
    np = import_module("numpy")
    np.savez(tmp_path / "frames.npz", **{"256x256": np.zeros((4, 20, 20), np.uint8)})
    command = [sys.executable, "-c", BAD_GPUS, str(SCRIPT.parent), str(tmp_path)]
    variables = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=250)
    assert done.returncode == 0, done.stderr
    parse = import_module("gpu_steps.recorder").parse_message
    old, memory, none = done.stdout.split("codes 1\n")[:3]
    assert [parse(line) for line in old.splitlines()] == [
        {"failure": "FlowError: Tesla K80 has compute capability 3.7, below 7.5"}
    ]
    messages = [parse(line) for line in memory.splitlines()]
    failures = [message["failure"] for message in messages if "failure" in message]
    rows = [message["row"] for message in messages if "row" in message]
    presets = import_module("flowkit.flow").PRESETS
    assert len(failures) == len(presets)
    assert all("batch 4: the GPU's memory is too small: CUDA out of" in line for line in failures)
    assert [row["batch"] for row in rows] == [2] * len(presets) + [1] * len(presets)
    assert [parse(line) for line in none.splitlines()] == [
        {"failure": "FlowkitError: torch sees no CUDA GPU here, or no driver for it"}
    ]
