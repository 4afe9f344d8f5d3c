"""A dataset whose videos are not here, and a `flowkit doctor` in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowkit.catalog import Dataset, load_catalog
from flowkit.doctor.finding import Finding

ROOT = Path(__file__).resolve().parents[3]
CATALOG = ROOT / "datasets.yaml"
# A shell starts what runs in its background with SIGINT ignored, and so would these tests be.
LISTEN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
# The entry point, for an installation that is older than it.
CHECKS = "[flowkit.checks]\ntraining = train.doctor:check_training\n"


@pytest.fixture
def catalog() -> Path:
    return CATALOG


@pytest.fixture
def ucf101(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "nowhere"))
    return load_catalog(CATALOG)["ucf101"]


class DoctorProcess:
    """``flowkit doctor`` beside the tests; ``folder`` is where all that it makes must be.

    The folder has a short path, and so have those in it: the paths of Ray's sockets are limited.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("t", "r", "site/flowkit_checks-0.dist-info"):
            (folder / name).mkdir(parents=True)
        metadata = folder / "site" / "flowkit_checks-0.dist-info"
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: flowkit-checks\n")
        (metadata / "entry_points.txt").write_text(CHECKS)
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder / "site")]),
            "TMPDIR": str(folder / "t"),
            "RAY_TMPDIR": str(folder / "r"),
        }

    def start(self, *arguments: str, code: str = "") -> "subprocess.Popen[str]":
        """Run the command; ``code`` is run before it, in its process."""
        main = f"{LISTEN}\n{code}\nfrom flowkit.cli import main\nmain()"
        return subprocess.Popen(
            [sys.executable, "-c", main, "doctor", "--json", *arguments],
            env=self.environment, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,  # what a terminal's foreground group is
        )  # fmt: skip

    def run(self, *arguments: str, code: str = "") -> tuple[int, list[Finding]]:
        """Exit code and findings."""
        process = self.start(*arguments, code=code)
        output, errors = process.communicate(timeout=240)
        assert "Traceback" not in errors, errors
        return process.returncode, [Finding(**item) for item in json.loads(output)]

    def made(self) -> list[str]:
        """What is in the folders for temporary files and for Ray."""
        return sorted(str(path) for path in self.folder.glob("[tr]/*"))

    def processes(self) -> list[str]:
        """Command lines, of any process, that name the folder."""
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has just ended
            if str(self.folder) in line:
                lines.append(line)
        return lines


@pytest.fixture
def doctor() -> Iterator[DoctorProcess]:
    folder = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
    yield DoctorProcess(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def by_topic() -> Callable[[list[Finding]], dict[str, Finding]]:
    return lambda findings: {finding.topic: finding for finding in findings}
