"""A Python that has what a GPU machine is taken to have, and nothing else of this environment.

Its packages are links to those that are installed here. cv2 loses its contrib module.
"""

import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PRESENT = ("torch", "triton", "numpy", "pandas", "pyarrow", "numba", "click")
OPENCV = ("opencv-contrib-python-headless", "opencv-contrib-python")
ABSENT = (
    "ray", "av", "simplejpeg", "tensorboardX", "pydantic", "pydantic_core", "rich", "psutil",
    "yaml", "sklearn", "matplotlib", "safetensors", "pytest", "hypothesis", "flowkit",
)  # fmt: skip

HIDE_OPTFLOW = """
import importlib.machinery, sys

class Loader:
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        sys.modules["cv2"].__dict__.pop("optflow", None)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "cv2.optflow":
            raise ModuleNotFoundError("No module named 'cv2.optflow'")
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == "cv2" else None
        if spec is not None and not spec.origin.endswith(".so"):
            spec.loader = Loader(spec.loader)
            return spec
        return None

sys.meta_path.insert(0, Finder())
"""


def make_bare_python(folder: Path) -> Path:
    """Make a virtual environment of links; returns its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    waiting, seen = [*PRESENT, *OPENCV], set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # of another platform
            continue
        tops = {file.parts[0] for file in found.files or () if ".." not in file.parts}
        for top in tops - {"__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
        for line in found.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    (site / "hide_optflow.py").write_text(HIDE_OPTFLOW)
    (site / "hide_optflow.pth").write_text("import hide_optflow\n")
    return folder / "bin" / "python"
