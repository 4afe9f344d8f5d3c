"""The scripts of docs/slurm.md. That for Ray runs in tests/cluster/test_hosts.py."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowkit.store import Store
from tests.conftest import write_clip

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


def read_script(title: str) -> str:
    """Read a script of the page."""
    match = re.search(rf'^```sh title="{title}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


@pytest.fixture
def run_script(tmp_path):
    """``run_script(title, **variables)``: a script of the page on two small videos."""
    for number in range(2):
        write_clip(tmp_path / "videos" / f"{number}.mp4", seed=number)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "flowkit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flowkit "$@"\n')
    (folder / "flowkit").chmod(0o755)

    def run(title: str, **variables: str) -> subprocess.CompletedProcess:
        script = tmp_path / title
        script.write_text(
            read_script(title)
            .replace("--dataset kinetics", f"--videos {tmp_path}/videos --size 32x32 --workers 0")
            .replace("/shared/kinetics", f"{tmp_path}/S")
            .replace("/64", "/2")
        )
        environment = os.environ | {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "numba"), **variables,
        }  # fmt: skip
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            environment.pop(name, None)
        return subprocess.run(
            [BASH, str(script)], env=environment, capture_output=True, text=True,
            timeout=280, cwd=tmp_path,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("title", ["extract.sbatch", "features.sbatch", "ray.sbatch"])
def test_scripts_are_bash(title):
    script = read_script(title)
    assert script.startswith("#!/bin/bash\n#SBATCH")
    done = subprocess.run([BASH, "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_job_array(run_script, tmp_path):
    for task in range(2):
        done = run_script("extract.sbatch", SLURM_ARRAY_TASK_ID=str(task))
        assert done.returncode == 0, done.stderr
    assert len(Store(tmp_path / "S")) == 2
