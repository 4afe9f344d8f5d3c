"""Make wheels of packages that are installed here, for a machine with the same Python.

For a pack that is made without a package index. Only files inside ``site-packages`` are taken;
scripts, which pip writes anew, and byte code are left out.
"""

import base64
import hashlib
import re
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

REWRITTEN = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def write_wheels(folder: Path, names: list[str]) -> None:
    """Write a wheel of each package, and of what it requires and is installed here."""
    from packaging.requirements import Requirement

    waiting, done = list(names), {"numpy"}  # the machine has it
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in done:
            continue
        done.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # an optional requirement, or one that the machine is taken to have
        write_wheel(folder, found)
        for line in found.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)


def write_wheel(folder: Path, found: Distribution) -> Path:
    """Write one wheel; returns its path."""
    metadata = found.read_text("WHEEL") or ""
    tags = re.findall(r"^Tag: (\S+)$", metadata, re.MULTILINE) or ["py3-none-any"]
    parts = [
        ".".join(dict.fromkeys(column))
        for column in zip(*(t.split("-") for t in tags), strict=True)
    ]
    name = re.sub(r"[-_.]+", "_", found.metadata["Name"])
    path = folder / f"{name}-{found.version}-{'-'.join(parts)}.whl"
    record, info = [], ""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
        for file in found.files or ():
            source = Path(str(file.locate()))
            if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
                continue
            if file.parts[0].endswith(".dist-info"):
                info = file.parts[0]
                if file.name in REWRITTEN:
                    continue
            content = source.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{file.as_posix()},sha256={digest.decode()},{len(content)}")
            wheel.writestr(file.as_posix(), content)
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return path
