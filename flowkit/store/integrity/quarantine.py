"""Move damaged files of a store to its folder ``quarantine``, where readers ignore them.

This is not the quarantine of videos that could not be extracted, which ``failures.jsonl`` lists.
"""

from itertools import count
from pathlib import Path

from flowkit.store.format.atomic import convert_disk_errors, sync_folder


def quarantine_file(root: Path, path: Path, copy: bool = False) -> None:
    """Move or copy a file, if it exists, to the same path below ``quarantine/``.

    If a file has this path already, the new one gets a number: ``NAME.2.arrow``. The caller holds
    the lock of the store.

    Args:
        root: Folder of the store.
        path: The file.
        copy: Copy the file instead of moving it, unless there is a copy of its bytes already.

    Raises:
        StoreError: The file cannot be read, or ``quarantine/`` cannot be written.
        DiskFullError: There is no room for the copy.
    """
    if not path.exists():
        return
    first_target = root / "quarantine" / path.relative_to(root)
    with convert_disk_errors(first_target):
        target = first_target
        target.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if copy else None
        for number in count(2):
            if not target.exists():
                break
            if content is not None and target.read_bytes() == content:
                return
            target = first_target.with_suffix(f".{number}{path.suffix}")
        if content is not None:  # not synced, since the copy is only for people to look at
            target.write_bytes(content)
        else:
            path.replace(target)
            sync_folder(target.parent)
            sync_folder(path.parent)
