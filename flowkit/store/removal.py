"""Remove features from a store, with everything that refers to them."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from flowkit.errors import UsageError
from flowkit.recipe import FEATURE_NAME, FEATURES
from flowkit.store.failures import forget_failures
from flowkit.store.format.atomic import convert_disk_errors, sync_folder, write_atomic
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import GATE, hold_store, make_lock_folder, wait_for_lock
from flowkit.store.index import rebuild_index


def remove_features(root: str | os.PathLike[str], name: str) -> int:
    """Remove ``features/<name>`` and everything that refers to it.

    If the process is killed, nothing else is damaged, and the same call completes the removal. The
    folder is renamed first, then the stream is removed from the index, the failures and the recipe,
    and finally the files are deleted.

    Args:
        root: Folder of the store.
        name: Name of the features, as in ``recipe.features``.

    Returns:
        Number of bytes that were freed.

    Raises:
        UsageError: The store has no such features.
        LockedError: Another process writes to the store.
    """
    path = Path(root)
    header = read_header(path)
    # A name such as ".." would delete folders that are not features.
    if not FEATURE_NAME.fullmatch(name):
        raise UsageError(f"expected a name of features such as tsn_rgb, got {name!r}")
    folder, trash = path / FEATURES / name, path / "removed" / name
    if name not in header.recipe.features and not trash.is_dir():
        known = ", ".join(header.recipe.features) or "none"
        raise UsageError(f"{root}: expected features that it has ({known}), got {name!r}")
    with hold_store(path):
        with convert_disk_errors(path):
            trash.mkdir(parents=True, exist_ok=True)
            if folder.is_dir():
                # A new name, since an earlier call may have left files in the trash.
                folder.rename(trash / uuid4().hex)
                sync_folder(folder.parent)
        rebuild_index(path)
        forget_failures(path, f"{FEATURES}{name}")
        with wait_for_lock(make_lock_folder(path) / GATE):
            header = read_header(path)
            features = {k: v for k, v in header.recipe.features.items() if k != name}
            header = replace(header, recipe=replace(header.recipe, features=features))
            write_atomic(path / "store.json", header.to_json())
        freed = sum(file.stat().st_size for file in trash.rglob("*") if file.is_file())
        with convert_disk_errors(path):
            shutil.rmtree(trash)
    return freed
