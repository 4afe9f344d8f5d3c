"""Collect what a bare GPU machine lacks: wheels, and test data.

    pack.json       the Python that the wheels are for, and what to install
    wheels/         from the package index, or made of the packages that are installed here
    data/           frames.npz (frames.py), clips/, middlebury/

The machine is taken to have torch with Triton, NumPy, pandas, pyarrow, Numba and OpenCV without
its contrib modules. Ray is left out: it is large, and nothing here needs it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from gpu_steps.environment import MANIFEST, ROOT
from gpu_steps.frames import write_frames, write_rendered_sequence
from gpu_steps.installed_wheels import write_wheels

MOST_BYTES = 60 << 20
# Those of flowkit's own requirements that the machine may lack, and what its tests need.
NEEDED = (
    "av", "click", "packaging", "psutil", "pydantic", "PyYAML", "rich", "simplejpeg",
    "tensorboardX",
)  # fmt: skip
TESTS = ("hypothesis", "pytest", "pytest-timeout")
# Packages whose own requirements the machine has (NumPy), and that pip must not fetch with them.
WITHOUT_REQUIREMENTS = ("av", "simplejpeg", "tensorboardX", "protobuf")
PLATFORMS = (
    *(f"manylinux_2_{glibc}_x86_64" for glibc in range(39, 4, -1)),
    "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64",
)  # fmt: skip
LARGE_WHEEL = 8 << 20  # bytes; av's is 35 MB, and a third less by LZMA
DATA = ROOT.parent / "shared" / "data"


class PackError(Exception):
    """A pack that cannot be made; the message is one line."""


def make_pack(folder: Path, python: str, source: str, data: Path = DATA) -> None:
    """Make a pack, in place of an older one.

    Args:
        folder: Where it is made.
        python: The version of Python on the GPU machine, such as ``3.12``.
        source: Where wheels come from: ``index``, ``installed`` (packages of this environment,
            for this Python) or ``none``.
        data: The folder with ``clips`` and ``middlebury``; what is missing there is rendered.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if source == "installed" and python != here:
        raise PackError(
            f"packages that are installed here are for Python {here}, and the pack is for {python}"
        )
    for part in ("wheels", "data"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "wheels").mkdir(parents=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    requirements = read_requirements()
    if source == "index":
        download_wheels(folder / "wheels", requirements, python)
    elif source == "installed":
        write_wheels(folder / "wheels", [*NEEDED, *TESTS, "protobuf", "pip"])
    else:
        requirements = []
    write_data(folder / "data", data)
    size = measure_folder(folder)
    if size > MOST_BYTES:
        raise PackError(
            f"the pack in {folder} has {size / 2**20:.1f} MiB, more than "
            f"{MOST_BYTES / 2**20:.0f}: leave something out (NEEDED in pack.py)"
        )
    manifest = {"python": python, "requirements": requirements, "wheels": source}
    # Last, so that a pack that was not finished is none.
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read_requirements() -> list[str]:
    """Return requirements of the needed packages, with the versions that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    found = {}
    for line in lines:
        name = line.split(";")[0].strip()
        for end in "<>=![ ":
            name = name.split(end)[0]
        found[name.lower()] = line.split(";")[0].strip()
    return [found[name.lower()] for name in (*NEEDED, *TESTS)]


def download_wheels(folder: Path, requirements: list[str], python: str) -> None:
    """Download wheels for another Python by pip, with their own requirements."""
    pip = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--only-binary=:all:", "--python-version", python, "--implementation", "cp",
        *(f"--platform={name}" for name in PLATFORMS), "-d", str(folder),
    ]  # fmt: skip
    alone = [r for r in requirements if r.startswith(WITHOUT_REQUIREMENTS)]
    whole = [r for r in requirements if r not in alone]
    for arguments in (["--no-deps", "pip", "protobuf", *alone], whole):
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
            reason = errors[-1] if errors else done.stderr.strip()[-200:]
            raise PackError(f"pip cannot download wheels for Python {python}: {reason}")
    for wheel in folder.glob("*.whl"):
        if wheel.stat().st_size > LARGE_WHEEL:
            compress_more(wheel)


def compress_more(wheel: Path) -> None:
    """Rewrite a wheel with LZMA, which pip reads as well: its RECORD is of the files inside."""
    part = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(part, "w", zipfile.ZIP_LZMA) as new:
        for entry in old.infolist():
            copy = zipfile.ZipInfo(entry.filename, entry.date_time)
            copy.external_attr, copy.compress_type = entry.external_attr, zipfile.ZIP_LZMA
            new.writestr(copy, old.read(entry))
    part.replace(wheel)


def write_data(folder: Path, data: Path) -> None:
    """Write frames, clips and sequences with known flow."""
    from clips import find_clips

    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="flowkit-gpu-") as scratch:
        clips = find_clips(data / "clips", Path(scratch))
        write_frames(folder / "frames.npz", clips)
        (folder / "clips").mkdir()
        for clip in clips:
            shutil.copyfile(clip, folder / "clips" / clip.name)
    sequences = sorted(path.parent for path in (data / "middlebury").glob("*/flow10.flo"))
    for sequence in sequences:
        (folder / "middlebury" / sequence.name).mkdir(parents=True)
        for name in ("frame10.png", "frame11.png", "flow10.flo"):
            shutil.copyfile(sequence / name, folder / "middlebury" / sequence.name / name)
    if not sequences:
        write_rendered_sequence(folder / "middlebury" / "motion8")


def measure_folder(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
