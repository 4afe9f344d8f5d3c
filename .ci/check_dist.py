"""Check the sdist and the wheel in a folder: metadata, contents, and the wheel installed elsewhere.

    python .ci/check_dist.py dist

Prints one line for each thing that is wrong, and exits with 1 if there is any.
"""

import email
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from packaging.metadata import InvalidMetadata, Metadata

NAME = "flowkit-video"
PACKAGES = ("flowkit", "models", "train")
LICENSE = "Apache-2.0"  # as the metadata names it, by SPDX
# Tells type checkers that a package's annotations are meant for those who import it.
TYPE_MARKERS = tuple(f"{package}/py.typed" for package in PACKAGES)
LARGEST_FILE = 2_000_000  # bytes; a video or a store that slipped in is larger

# What the wheel must have beside each package's modules.
WHEEL_FILES = (
    *TYPE_MARKERS,
    "flowkit_video.py",
    "flowkit/datasets.yaml",
    "flowkit/constraints.txt",
    "flowkit/store/README.md",
    "flowkit/doctor/clips/left.mp4",
    "train/recipes/motion8_cma.yaml",
    "train/templates/report.html",
)
# What the sdist must have so that `make test` works in it.
SDIST_FILES = (
    *(f"{package}/__init__.py" for package in PACKAGES), *TYPE_MARKERS,
    "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md",
    "flowkit_video.py", "Makefile", "README.md", "constraints.txt", "datasets.yaml",
    "pyproject.toml", ".ci/make_venv", ".ci/check_dist.py", "benchmarks/flow.py",
    "tests/conftest.py", "tests/matrix/requirements.py", "PKG-INFO",
)  # fmt: skip
UNWANTED_PARTS = ("__pycache__", ".venv", ".git", "stores", "data", "demo", "node_modules")
CLIPS = "flowkit/doctor/clips/"  # small videos that doctor decodes
UNWANTED_ENDINGS = (
    ".pyc", ".so", ".part", ".arrow", ".mp4", ".avi", ".webm", ".pt", ".pth", ".safetensors",
)  # fmt: skip


def main() -> None:
    """Check the folder that the command line names."""
    folder = Path(sys.argv[1])
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        sys.exit(f"error: expected one wheel and one sdist in {folder}, got {wheels + sdists}")
    problems = [*check_sdist(sdists[0]), *check_wheel(wheels[0])]
    if not problems:
        problems = check_installation(wheels[0])
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{sdists[0].name} and {wheels[0].name} are complete; the wheel installs and answers")


def check_sdist(path: Path) -> list[str]:
    """What is wrong with the source distribution."""
    with tarfile.open(path) as archive:
        sizes = {
            str(PurePosixPath(*PurePosixPath(item.name).parts[1:])): item.size
            for item in archive.getmembers()
            if item.isfile()
        }
        info = next((item for item in archive if item.name.endswith("/PKG-INFO")), None)
        file = archive.extractfile(info) if info else None
        metadata = file.read() if file else b""
    return [
        *check_names(path.name, sizes, SDIST_FILES),
        *check_metadata(path.name, metadata),
    ]


def check_wheel(path: Path) -> list[str]:
    """What is wrong with the wheel."""
    with zipfile.ZipFile(path) as archive:
        sizes = {item.filename: item.file_size for item in archive.infolist()}
        (info,) = {name.split("/")[0] for name in sizes if ".dist-info/" in name}
        metadata = archive.read(f"{info}/METADATA")
        entries = archive.read(f"{info}/entry_points.txt").decode()
    needed = (*WHEEL_FILES, *list_modules(), f"{info}/licenses/LICENSE")
    problems = check_names(path.name, sizes, needed)
    top = {name.split("/")[0] for name in sizes} - {info}
    if top != {*PACKAGES, "flowkit_video.py"}:
        problems.append(f"{path.name}: expected {PACKAGES} and flowkit_video.py, got {sorted(top)}")
    if "flowkit = flowkit_video:main" not in entries:
        problems.append(f"{path.name}: the console script is missing")
    return problems + check_metadata(path.name, metadata)


def list_modules() -> list[str]:
    """Every module of the three packages in this checkout."""
    root = Path(__file__).resolve().parents[1]
    return [
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
    ]


def check_names(archive: str, sizes: dict[str, int], needed: tuple[str, ...]) -> list[str]:
    """Files that are missing from an archive, and those that do not belong there."""
    problems = [f"{archive}: {name} is missing" for name in needed if name not in sizes]
    for name, size in sizes.items():
        parts = PurePosixPath(name).parts
        unwanted = name.endswith(UNWANTED_ENDINGS) and not name.startswith(CLIPS)
        if unwanted or any(part in UNWANTED_PARTS for part in parts):
            problems.append(f"{archive}: {name} does not belong there")
        elif size > LARGEST_FILE:
            problems.append(f"{archive}: {name} has {size:,} bytes")
    return problems


def check_metadata(archive: str, metadata: bytes) -> list[str]:
    """What an index would refuse, and what people would miss on the project's page."""
    try:
        parsed = Metadata.from_email(metadata, validate=True)
    except ExceptionGroup as group:
        errors = [error for error in group.exceptions if isinstance(error, InvalidMetadata)]
        return [f"{archive}: {error}" for error in errors or [group]]
    problems = []
    if parsed.name != NAME:
        problems.append(f"{archive}: expected the name {NAME}, got {parsed.name}")
    if not parsed.summary or parsed.description_content_type != "text/markdown":
        problems.append(f"{archive}: expected a summary, and a description in text/markdown")
    if not str(email.message_from_bytes(metadata).get_payload()).strip():
        problems.append(f"{archive}: the description is empty")
    if parsed.license_expression != LICENSE:
        problems.append(
            f"{archive}: expected the licence {LICENSE}, got {parsed.license_expression}"
        )
    if str(parsed.requires_python) != ">=3.11":
        problems.append(f"{archive}: expected Python >=3.11, got {parsed.requires_python}")
    return problems


def check_installation(wheel: Path) -> list[str]:
    """Install the wheel in an environment of its own, and start the command."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        try:
            run(sys.executable, "-m", "venv", "--without-pip", venv)
            pip = (sys.executable, "-m", "pip", "--python", venv / "bin" / "python")
            run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel.resolve())
            (site,) = venv.glob("lib/python*/site-packages")
            # click comes from the environment that runs this, whose .pth files are not read.
            (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
            version = run(venv / "bin" / "flowkit", "--version", folder=folder)
            origin = run(
                venv / "bin" / "python", "-c", "import flowkit; print(flowkit.__file__)",
                folder=folder,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            output = f"{error.stdout}{error.stderr}".strip().splitlines() or ["no output"]
            return [f"{wheel.name}: {Path(error.cmd[0]).name} failed: {output[-1]}"]
    expected = wheel.name.split("-")[1]
    problems = []
    if version.split() != ["flowkit,", "version", expected]:
        problems.append(f"{wheel.name}: expected version {expected}, got {version.strip()!r}")
    if not Path(origin.strip()).is_relative_to(site):
        problems.append(f"{wheel.name}: 'import flowkit' gives {origin.strip()}")
    return problems


def run(*command: object, folder: str | None = None) -> str:
    """Run a command without this checkout on its path; its output."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return result.stdout


if __name__ == "__main__":
    main()
