"""Plan, runner, results, tables, pack and environment of benchmarks/gpu.py; no step is run."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def steps():
    """``steps.plan``, ``steps.runner``, …: the modules of gpu_steps."""

    class Modules:
        def __getattr__(self, name):
            return import_module(f"gpu_steps.{name}")

    return Modules()


def test_all_limits_together_fit_into_eight_minutes(steps):
    plan = steps.plan
    assert (
        sum(step.seconds for step in plan.STEPS) + plan.INSTALL_SECONDS <= plan.TOTAL_SECONDS == 480
    )
    assert len({step.name for step in plan.STEPS}) == len(plan.STEPS)
    with pytest.raises(ValueError, match="expected one of machine, agreement, "):
        plan.find_step("sped")


# --- steps in processes ---

ROW = """print('@gpu {"table": "t", "row": {"n": %d}}', flush=True)\n"""


def run_scripts(steps, scripts, seconds=20.0, publish=lambda: None):
    """Run each script as a step; returns results by name, and the lines that were printed."""
    plan, runner = steps.plan, steps.runner
    results, lines = steps.results.Results(Path("nowhere")), []
    runner.run_steps(
        [plan.Step(name, name, "", seconds) for name in scripts],
        lambda step: [sys.executable, "-c", scripts[step.name]],
        dict(os.environ), results, publish, lines.append,
    )  # fmt: skip
    return results.steps, lines


def test_a_step_that_fails_or_crashes_keeps_its_rows_and_the_next_begins(steps):
    published = []
    scripts = {
        "good": ROW % 1 + ROW % 2 + "print('for people')",
        "half": ROW % 3 + """print('@gpu {"failure": "batch 8: no memory"}'); exit(1)""",
        "raises": "raise ValueError('no such file')",
        "crashes": ROW % 4 + "import signal; signal.raise_signal(signal.SIGSEGV)",
        "last": ROW % 5,
    }
    found, lines = run_scripts(steps, scripts, publish=lambda: published.append(1))
    assert {name: result.status for name, result in found.items()} == {
        "good": "done", "half": "partly", "raises": "failed", "crashes": "partly", "last": "done",
    }  # fmt: skip
    assert found["good"].tables == {"t": [{"n": 1}, {"n": 2}]}
    assert found["half"].failures == ["batch 8: no memory"]
    assert found["raises"].failures == ["ValueError: no such file"]
    assert found["crashes"].failures == ["its process was killed by SIGSEGV"]
    assert len(published) == 5
    assert "    ValueError: no such file" in lines


def test_a_step_that_hangs_is_stopped_with_all_its_processes(steps, tmp_path):
    pid = tmp_path / "pid"
    hang = (
        "import subprocess, sys, pathlib, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid))\n" + ROW % 1 + "time.sleep(600)"
    )
    found, _ = run_scripts(steps, {"hang": hang, "next": ROW % 2}, seconds=8.0)
    assert found["hang"].status == "stopped"
    assert found["hang"].failures == ["stopped after 8 s, its limit of time"]
    assert found["hang"].tables == {"t": [{"n": 1}]}
    assert found["next"].status == "done"
    for _ in range(100):  # a killed grandchild is gone when init has taken it
        state = Path(f"/proc/{pid.read_text()}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("a process of the step lives on")


# --- results and tables ---


def make_result(steps, *rows, status="done", failures=()):
    tables = {"accuracy": list(rows)} if rows else {}
    return steps.results.StepResult(status, 1.0, list(failures), tables)


def test_results_are_read_back_and_a_failed_repetition_takes_nothing_away(steps, tmp_path):
    results = steps.results.Results(tmp_path / "new")
    results.add("accuracy", make_result(steps, {"ratio": 1.0}))
    assert results.write() is None
    again = steps.results.read_results(tmp_path / "new")
    assert again.steps["accuracy"] == results.steps["accuracy"]
    again.add("accuracy", make_result(steps, status="failed", failures=["no GPU"]))
    assert again.steps["accuracy"].tables == {"accuracy": [{"ratio": 1.0}]}
    assert again.steps["accuracy"].failures == ["no GPU"]
    (tmp_path / "new" / "gpu.json").write_text('{"steps": 3}')
    with pytest.raises(ValueError, match=r"gpu\.json is damaged .*: move it away"):
        steps.results.read_results(tmp_path / "new")


def test_a_full_disk_is_one_line_and_leaves_the_older_file(steps, tmp_path, monkeypatch):
    results = steps.results.Results(tmp_path)
    assert results.write() is None
    before = (tmp_path / "gpu.json").read_bytes()

    def fail(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    results.add("accuracy", make_result(steps, {"ratio": 1.0}))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fail)
        line = results.write()
    path = tmp_path / "gpu.json"
    assert line == f"cannot write {path}: No space left on device; going on without"
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["gpu.json"]


def test_the_tables_of_results_md_are_what_is_written_without_measurements(steps, tmp_path):
    """Of ``results/gpu.json``, where it is kept; writing them again changes nothing."""
    copy = tmp_path / "RESULTS.md"
    shutil.copyfile(ROOT / "benchmarks" / "RESULTS.md", copy)
    kept = steps.results.read_results(ROOT / "results")
    steps.tables.rewrite(copy, kept)
    assert copy.read_text() == (ROOT / "benchmarks" / "RESULTS.md").read_text()
    empty = steps.tables.render_table("accuracy", steps.results.Results(tmp_path))
    assert "| sequence | preset |" in empty
    assert "`python benchmarks/gpu.py --from build/gpu --only accuracy`" in empty


def test_rows_and_failures_are_in_the_table(steps, tmp_path):
    results = steps.results.Results(tmp_path)
    row = {"sequence": "Urban3", "preset": "a|b", "numba": 2.0256, "triton": None, "ratio": 1.0}
    results.add("accuracy", make_result(steps, row, status="partly", failures=["fast: too old"]))
    text = steps.tables.render_table("accuracy", results)
    assert "| Urban3 | a\\|b | 2.0256 |  | 1.0000 |" in text
    assert "--only accuracy`, " in text and "\n- fast: too old" in text
    (tmp_path / "t.md").write_text("no markers")
    with pytest.raises(ValueError, match=r"0 places for the table 'machine', expected one"):
        steps.tables.rewrite(tmp_path / "t.md", results)


# --- pack and environment ---


def test_what_is_no_pack_or_for_another_python_is_a_line(steps, tmp_path):
    make = steps.environment.make_environment
    (note,) = make(tmp_path, tmp_path / "venv", 10).notes
    assert "is no pack" in note and f"`python benchmarks/gpu.py --pack {tmp_path}`" in note
    manifest = {"python": "3.9", "requirements": ["av"], "wheels": "index"}
    (tmp_path / "pack.json").write_text(json.dumps(manifest))
    made = make(tmp_path, tmp_path / "venv", 10)
    assert made.python == Path(sys.executable)
    (note,) = made.notes
    assert "is for Python 3.9, and this is Python" in note
    assert "going on with the packages that are here" in note


def test_a_pack_needs_wheels_of_its_python_and_must_not_be_large(steps, tmp_path, monkeypatch):
    pack = steps.pack
    with pytest.raises(pack.PackError, match=r"are for Python .*, and the pack is for 3\.9"):
        pack.make_pack(tmp_path, "3.9", "installed")
    monkeypatch.setattr(pack, "write_data", lambda folder, data: folder.mkdir())
    monkeypatch.setattr(pack, "MOST_BYTES", 10)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file").write_bytes(bytes(20))
    with pytest.raises(pack.PackError, match=r"has 0\.0 MiB, more than 0: leave something out"):
        pack.make_pack(tmp_path / "large", "3.12", "none")
    assert not (tmp_path / "large" / "pack.json").exists()


def test_a_pack_requires_the_versions_that_flowkit_does(steps):
    requirements = steps.pack.read_requirements()
    assert len(requirements) == len(steps.pack.NEEDED) + len(steps.pack.TESTS)
    assert any(line.startswith("av>=") for line in requirements)
    assert not any(line.startswith(("ray", "torch", "opencv")) for line in requirements)


def test_a_wheel_with_another_compression_is_the_same_wheel(steps, tmp_path):
    import zipfile

    path = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("a/__init__.py", "x = 1\n")
        wheel.writestr("a-1.dist-info/RECORD", "a/__init__.py,,\n")
    before = {e.filename: e.CRC for e in zipfile.ZipFile(path).infolist()}
    steps.pack.compress_more(path)
    with zipfile.ZipFile(path) as wheel:
        assert {e.filename: e.CRC for e in wheel.infolist()} == before
        assert {e.compress_type for e in wheel.infolist()} == {zipfile.ZIP_LZMA}


def test_make_gpu_packs_what_is_absent_and_then_measures(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    command = ["make", "-n", "--no-print-directory", "-C", str(tmp_path), "gpu", "PYTHON=python3"]

    def plan():
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    assert "--pack build/gpu" in plan()
    (tmp_path / "build" / "gpu").mkdir(parents=True)
    (tmp_path / "build" / "gpu" / "pack.json").touch()
    assert plan().strip() == "python3 benchmarks/gpu.py --from build/gpu"
