"""Install the wheel with every Python and three sets of packages, and use what was installed.

    python tests/matrix/run.py                                       every Python × every set
    python tests/matrix/run.py --python 3.13 --packages newest       one cell
    python tests/matrix/run.py --python 3.13 --suite                 the whole test suite, too

Each cell is a fresh virtual environment outside the checkout with the built wheel in it, where
``smoke.py`` runs. The sets of packages are:

- ``oldest``: the lower bound of every range in pyproject.toml;
- ``pinned``: constraints.txt;
- ``newest``: whatever pip finds within the ranges today.

The table that is printed at the end is what CONTRIBUTING.md shows. Nothing but the standard
library is needed, and pip has to reach a package index.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from requirements import read_lowest_versions

ROOT = Path(__file__).resolve().parents[2]
OLDEST_PYTHON = (3, 11)
PACKAGES = ("oldest", "pinned", "newest")
INSTALL_SECONDS, SMOKE_SECONDS, SUITE_SECONDS = 1800, 900, 3600
COLUMNS = ("av", "numpy", "opencv", "torch", "ray", "pyarrow")
# What would lead a cell back to the checkout, or to the environment that started it.
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "FLOWKIT_DATA", "PIP_CONSTRAINT")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The outcome of one Python with one set of packages.

    Attributes:
        python: Version of Python, such as ``3.13.0``.
        packages: ``oldest``, ``pinned`` or ``newest``.
        problem: What failed, in one line; empty if nothing did.
        install_seconds: Time to install the wheel and its packages.
        smoke: What ``smoke.py`` measured: ``error``, ``seconds``, ``versions``, ``findings``.
        suite: pytest's closing line, where the suite ran.
    """

    python: str
    packages: str
    problem: str = ""
    install_seconds: float = 0.0
    smoke: dict | None = None
    suite: str = ""


class StepError(Exception):
    """A step of a cell failed; the message is one line."""


def find_pythons() -> dict[tuple[int, int], tuple[str, Path]]:
    """Find the newest Python of each minor version from 3.11 on, on PATH and below pyenv.

    Returns:
        (major, minor) → (full version, interpreter).
    """
    found: dict[tuple[int, int], tuple[str, Path]] = {}
    for path in list_interpreters():
        version = read_version(path)
        if version is None or version[:2] < OLDEST_PYTHON:
            continue
        known = found.get(version[:2])
        if known is None or version > parse_version(known[0]):
            found[version[:2]] = (".".join(map(str, version)), path)
    return dict(sorted(found.items()))


def list_interpreters() -> Iterator[Path]:
    """List what may be a Python: the one that runs this, PATH's, and pyenv's."""
    yield Path(sys.executable)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield from sorted(Path(folder or ".").glob("python3.[0-9]*"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/*/bin/python3"))


def read_version(path: Path) -> tuple[int, int, int] | None:
    """The version of an interpreter; None if it is none that runs and can make environments."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:3], sys.version_info[3])"
    try:
        answer = subprocess.run(
            [path, "-c", code], capture_output=True, text=True, timeout=20, check=True
        )
        major, minor, micro, level = answer.stdout.split()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return (int(major), int(minor), int(micro)) if level == "final" else None


def parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into ``folder``."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", folder, ROOT]
    run_step("building the wheel", command, folder, 300, folder / "wheel.log")
    return next(folder.glob("*.whl"))


def run_step(
    name: str, command: list[object], folder: Path, seconds: float, log: Path
) -> tuple[str, float]:
    """Run a command with a clean environment; its output goes to ``log`` as well.

    Returns:
        (its standard output, how long it took in seconds).

    Raises:
        StepError: It failed or hung; the message ends with its last line.
    """
    environment = {key: value for key, value in os.environ.items() if key not in HIDDEN}
    start = time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        try:
            result = subprocess.run(
                [str(word) for word in command],
                cwd=folder,
                env=environment,
                timeout=seconds,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StepError(f"{name} took more than {seconds:g} s") from error
        file.write(f"$ {' '.join(map(str, command))}\n{result.stdout}{result.stderr}\n")
    if result.returncode != 0:
        lines = f"{result.stdout}\n{result.stderr}".strip().splitlines() or ["no output"]
        failed = next((line for line in lines if line.startswith("FAILED")), lines[-1])
        raise StepError(f"{name} failed: {failed.strip()} (all of it: {log})")
    return result.stdout, time.monotonic() - start


def write_constraints(packages: str, folder: Path) -> list[object]:
    """The options of pip that choose a set of packages."""
    if packages == "pinned":
        return ["-c", ROOT / "constraints.txt"]
    if packages == "oldest":
        lowest = folder / "lowest.txt"
        lowest.write_text("\n".join(read_lowest_versions(ROOT / "pyproject.toml")) + "\n")
        return ["-c", lowest]
    return ["--upgrade"]


def run_cell(
    version: str, interpreter: Path, packages: str, wheel: Path, folder: Path, suite: bool
) -> Cell:
    """Install and use flowkit in a fresh environment below ``folder``."""
    folder.mkdir(parents=True)
    log, environment = folder / "log.txt", folder / "venv"
    python = environment / "bin" / "python"
    install_seconds, smoke, closing = 0.0, None, ""
    try:
        run_step(
            "making the environment", [interpreter, "-m", "venv", environment], folder, 120, log
        )
        install = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
        wanted = f"flowkit-video[test] @ {wheel.as_uri()}" if suite else wheel
        _, install_seconds = run_step(
            "installing",
            [*install, *write_constraints(packages, folder), wanted],
            folder,
            INSTALL_SECONDS,
            log,
        )
        # The oldest packages may give reason to warn, such as an older driver's torch.
        allowed = ["--allow-findings"] if packages == "oldest" else []
        script = [python, ROOT / "tests" / "matrix" / "smoke.py", *allowed]
        output, _ = run_step("the smoke test", script, folder, SMOKE_SECONDS, log)
        smoke = json.loads(output.splitlines()[-1])
        if suite:
            closing = run_suite(python, folder, log)
    except StepError as error:
        return Cell(
            python=version,
            packages=packages,
            problem=str(error),
            install_seconds=install_seconds,
            smoke=smoke,
            suite=closing,
        )
    return Cell(
        python=version,
        packages=packages,
        install_seconds=install_seconds,
        smoke=smoke,
        suite=closing,
    )


def run_suite(python: Path, folder: Path, log: Path) -> str:
    """Run the tests of this checkout on its own sources; returns pytest's closing line."""
    command = [python, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    output, _ = run_step("the suite", [*command, ROOT], ROOT, SUITE_SECONDS, log)
    return output.strip().splitlines()[-1]


def draw_table(cells: list[Cell]) -> str:
    """The outcomes as a Markdown table."""
    header = ["Python", "packages", *COLUMNS, "install", "smoke", "demo's error", "outcome"]
    rows = [header, ["---"] * len(header)]
    for cell in cells:
        smoke = cell.smoke or {}
        versions = smoke.get("versions", {})
        rows.append(
            [
                cell.python,
                cell.packages,
                *(versions.get(name, "") for name in COLUMNS),
                f"{cell.install_seconds:.0f} s",
                f"{smoke['seconds']:.0f} s" if smoke else "",
                f"{smoke['error']:.3f} px" if smoke else "",
                cell.problem or (f"works; {cell.suite}" if cell.suite else "works"),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--python",
        action="append",
        metavar="3.N",
        help="a minor version; more than once (default: every one found)",
    )
    parser.add_argument("--newest-python", action="store_true", help="only the newest one found")
    parser.add_argument(
        "--packages",
        action="append",
        choices=PACKAGES,
        help="a set of packages; more than once (default: all three)",
    )
    parser.add_argument("--suite", action="store_true", help="run the whole test suite as well")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="keep the environments and logs there (default: a temporary folder, "
        "removed cell by cell)",
    )
    return parser.parse_args()


def choose_pythons(options: argparse.Namespace) -> list[tuple[str, Path]]:
    """The interpreters that were asked for, or SystemExit naming those there are."""
    found = find_pythons()
    if not found:
        raise SystemExit("no Python 3.11 or newer was found on PATH or below pyenv's versions/")
    if options.newest_python:
        return [list(found.values())[-1]]
    wanted = [parse_version(text) for text in options.python or []] or list(found)
    names = ", ".join(f"{major}.{minor}" for major, minor in found)
    for version in wanted:
        if version not in found:
            raise SystemExit(f"no Python {'.'.join(map(str, version))} was found; there is {names}")
    return [found[version] for version in wanted]


def main() -> None:
    options = read_options()
    pythons = choose_pythons(options)
    base = options.keep or Path(tempfile.mkdtemp(prefix="flowkit-matrix-"))
    base.mkdir(parents=True, exist_ok=True)
    cells: list[Cell] = []
    try:
        wheel = build_wheel(base)
        for version, interpreter in pythons:
            for packages in options.packages or PACKAGES:
                folder = base / f"{version}-{packages}"
                cell = run_cell(version, interpreter, packages, wheel, folder, options.suite)
                cells.append(cell)
                print(f"Python {version}, {packages}: {cell.problem or 'works'}", flush=True)
                if options.keep is None and not cell.problem:
                    shutil.rmtree(folder)  # several GiB each
    finally:
        print(draw_table(cells), flush=True)
        if options.keep is None and not any(cell.problem for cell in cells):
            shutil.rmtree(base)
    if any(cell.problem for cell in cells):
        sys.exit(1)


if __name__ == "__main__":
    main()
