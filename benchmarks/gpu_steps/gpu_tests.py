"""The step that runs the tests that need a GPU, by pytest in a process of its own."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from flowkit.errors import FlowkitError
from gpu_steps.plan import Scale, find_step
from gpu_steps.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
REPORT_SECONDS = 15  # of the step's time: to start, and to write the report


def run_tests(scale: Scale, recorder: Recorder) -> None:
    """Run the files that have tests marked ``gpu``; other files need packages that are not here."""
    files = [
        str(path)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    ]
    environment = os.environ | {"FLOWKIT_TEST_DATA": str(scale.data)}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # Warnings of other versions of packages than the pinned ones are no failures here.
        command = [
            sys.executable, "-m", "pytest", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider",
            "--override-ini=junit_family=xunit2", f"--junitxml={report}", *files,
        ]  # fmt: skip
        with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
            try:
                process.wait(timeout=find_step("tests").seconds - REPORT_SECONDS)
            except subprocess.TimeoutExpired:
                recorder.fail("not all tests ran in the time there was")
                process.send_signal(signal.SIGINT)  # pytest then reports those that did
                process.wait(timeout=REPORT_SECONDS)
        if not report.is_file():
            raise FlowkitError(f"pytest made no report, and ended with {process.returncode}")
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed, skipped = [], []
    for case in cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        problem = next(
            (case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None
        )
        skip = case.find("skipped")
        if problem is not None:
            failed.append(name)
            recorder.fail(f"{name}: {' '.join((problem.get('message') or '').split())[:200]}")
        elif skip is not None:
            skipped.append(f"{skip.get('message')}")
    recorder.add(
        "tests",
        passed=len(cases) - len(failed) - len(skipped),
        failed=len(failed),
        skipped=len(skipped),
        reasons="; ".join(sorted(set(skipped)))[:300],
    )
    if not cases:
        raise FlowkitError("pytest -m gpu found no tests")
