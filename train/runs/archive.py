"""Check the checksums of files that PyTorch saved, which `torch.load` itself does not compare."""

import zipfile
from pathlib import Path

from train.runs.run import RunError

DIRECTORY = 0x10
"""Bit of the attributes of a part that makes it a folder."""


def check_archive(path: Path) -> None:
    """Check the CRC-32 of every part of a file of `torch.save`.

    A changed byte in the values of a tensor would otherwise be loaded as another weight. If a part
    is marked as a folder, `torch.load` reads nothing, and takes what the memory held before.

    Args:
        path: The file, a ZIP archive, as flowkit writes it.

    Raises:
        RunError: A checksum is wrong, or the file is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            folders = [i.filename for i in archive.infolist() if i.external_attr & DIRECTORY]
    except Exception as error:  # zipfile and zlib raise many kinds for damaged bytes
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path} cannot be read: {reason}") from error
    if damaged is not None:
        raise RunError(f"{path} cannot be read: the checksum of {damaged} is wrong")
    if folders:
        raise RunError(f"{path} cannot be read: {folders[0]} is a folder, expected a tensor")
