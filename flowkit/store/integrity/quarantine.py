"""Move damaged files of a store to its folder ``quarantine``, where readers ignore them.

This is not the quarantine of videos that could not be extracted, which ``failures.jsonl`` lists.
"""

from pathlib import Path

from flowkit.store.format.atomic import convert_disk_errors, sync_folder


def quarantine_file(root: Path, path: Path, copy: bool = False) -> None:
    """Move or copy a file, if it exists, to the same path below ``quarantine/``.

    Args:
        root: Folder of the store.
        path: The file.
        copy: Copy the file instead of moving it.
    """
    if not path.exists():
        return
    target = root / "quarantine" / path.relative_to(root)
    with convert_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy:  # not synced, since the copy is only for people to look at
            target.write_bytes(path.read_bytes())
        else:
            path.replace(target)
            sync_folder(target.parent)
            sync_folder(path.parent)
