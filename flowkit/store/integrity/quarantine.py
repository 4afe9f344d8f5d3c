"""Move damaged files out of a store's way without deleting them."""

from pathlib import Path

from flowkit.store.format.atomic import disk_errors, sync_folder


def move_to_quarantine(root: Path, path: Path, keep: bool = False) -> None:
    """Move a file, if it exists, to the same path below ``quarantine/``.

    Args:
        root: Folder of the store.
        path: The file.
        keep: Copy the file instead of moving it.
    """
    if not path.exists():
        return
    target = root / "quarantine" / path.relative_to(root)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if keep:
            target.write_bytes(path.read_bytes())
        else:
            path.replace(target)
            sync_folder(target.parent)
            sync_folder(path.parent)
