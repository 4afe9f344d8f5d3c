"""Make a virtual environment from a pack, on top of the packages of the Python that runs this.

`python -m venv --system-site-packages` is not enough: started from a virtual environment it shows
the packages of that one's *base* interpreter. And `ensurepip` is missing where the distribution
ships it apart. So the environment is made without pip, a ``.pth`` file adds the folders of this
interpreter, and pip runs from its own wheel in the pack.
"""

import json
import os
import subprocess
import sys
import sysconfig
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "pack.json"
PIP_OPTIONS = ("--no-index", "--no-compile", "--disable-pip-version-check", "--quiet")


@dataclass
class Environment:
    """The interpreter that runs the steps, and one line about each thing that went wrong."""

    python: Path
    notes: list[str] = field(default_factory=list)


def make_environment(pack: Path, folder: Path, seconds: float) -> Environment:
    """Make a virtual environment in `folder` and install the wheels of the pack into it.

    A pack that cannot be used is a note, and the steps run with the packages that are here.
    """
    here = Environment(Path(sys.executable))
    try:
        manifest = json.loads((pack / MANIFEST).read_text(encoding="utf-8"))
        python, requirements = manifest["python"], manifest["requirements"]
    except (OSError, ValueError, KeyError) as error:
        here.notes.append(
            f"{pack} is no pack ({type(error).__name__}: {MANIFEST}): make one with "
            f"`python benchmarks/gpu.py --pack {pack}`; going on with the packages that are here"
        )
        return here
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != version:
        here.notes.append(
            f"the pack in {pack} is for Python {python}, and this is Python {version}: make one "
            f"with --python {version}; going on with the packages that are here"
        )
        return here
    if not requirements:  # made without wheels
        return here
    try:
        # Without the base's packages: those of them that this interpreter sees are in its path.
        venv.create(folder, system_site_packages=False, clear=True, symlinks=True, with_pip=False)
        made = Environment(folder / "bin" / "python")
        add_parent_packages(folder)
    except (OSError, subprocess.SubprocessError) as error:
        here.notes.append(f"cannot make an environment in {folder} ({error}); going on without")
        return here
    made.notes += install(made.python, pack / "wheels", requirements, seconds)
    return made


def add_parent_packages(folder: Path) -> None:
    """Show the environment in `folder` all packages that this interpreter sees."""
    paths = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    variables = {"base": str(folder), "platbase": str(folder)}
    own = Path(sysconfig.get_path("purelib", "venv", vars=variables))
    lines = [f"import site; site.addsitedir({path!r})" for path in paths]
    (own / "parent_packages.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")


def install(python: Path, wheels: Path, requirements: list[str], seconds: float) -> list[str]:
    """Install what is missing; where pip cannot do all of it, as many wheels as it can.

    Returns:
        One line for each thing that failed. It all ends within `seconds`, done or not.
    """
    (pip,) = list(wheels.glob("pip-*.whl"))[-1:] or [None]
    runner = [str(pip / "pip")] if pip is not None else ["-m", "pip"]
    command = [str(python), *runner, "install", *PIP_OPTIONS]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}

    deadline = time.monotonic() + seconds

    def run(*arguments: str) -> str:
        try:
            done = subprocess.run(
                [*command, *arguments], capture_output=True, text=True, env=environment,
                timeout=max(0.1, deadline - time.monotonic()), check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"all of it took longer than {seconds:.0f} s"
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return "" if done.returncode == 0 else (lines or [f"pip ended with {done.returncode}"])[-1]

    reason = run("--find-links", str(wheels), *requirements)
    if not reason:
        return []
    if time.monotonic() > deadline:
        return [f"the pack was not installed: {reason}"]
    notes = [f"pip cannot install all of the pack ({reason}); installing each wheel alone"]
    for wheel in sorted(wheels.glob("*.whl")):
        if wheel != pip and (failure := run("--no-deps", str(wheel))):
            notes.append(f"{wheel.name} was not installed: {failure}")
    return notes
