"""Find the weight files that recipes and users name, without PyTorch: its import takes seconds."""

import os
import sys
from pathlib import Path

from flowkit.catalog import data_root
from flowkit.errors import UsageError

SUFFIXES = (".pth", ".pt", ".safetensors", ".pth.tar")


def find_weight_file(name: str) -> Path:
    """Find a weight file. Nothing is downloaded.

    Args:
        name: A path of a file, the folder of a finished phase, or the beginning of a file's name.
            ``resnet50`` finds resnet50*.pth, *.pt, *.pth.tar and *.safetensors in
            ``$FLOWKIT_DATA/weights`` and in torch's cache.

    Raises:
        UsageError: There is no such file. The message says how to get it.
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111 (Path.expanduser raises for unknown users)
    if path.is_dir() and (path / "weights.pt").is_file():
        return path / "weights.pt"
    if path.is_file():
        return path
    folders = [data_root() / "weights", find_hub_folder() / "checkpoints"]
    for folder in folders:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.name.startswith(name) and file.name.endswith(SUFFIXES) and file.is_file():
                return file
    if len(path.parts) > 1 or path.name.endswith(SUFFIXES):
        raise UsageError(
            f"no weights {name!r}: expected an existing file, or the folder of a finished phase "
            "(with weights.pt)"
        )
    raise UsageError(
        f"no weights {name!r}: looked for a file, for the folder of a finished phase, and in "
        f"{' and '.join(map(str, folders))}. Put a file {name}*.pth there, or give the path of "
        f"one; torchvision downloads its own there: torchvision.models.{name}(weights='DEFAULT')"
    )


def find_hub_folder() -> Path:
    """Return the folder of torch.hub, which need not exist, without importing PyTorch for it."""
    hub = sys.modules.get("torch.hub")
    if hub is not None:
        return Path(hub.get_dir())
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))  # noqa: PTH118
    return Path(os.path.expanduser(home)) / "hub"  # noqa: PTH111
