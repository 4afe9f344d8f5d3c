"""Read the tensors of a weight file, without running any code in it.

Files of `torch.save` in its zip format and in the older one, and safetensors, are read. Everything
in a file that is not a named tensor is ignored: the arguments of a training script, an optimizer,
objects of any class. It is never imported or called (`models.weights.pickle_data`).
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from models.weights.errors import WeightsError
from models.weights.pickle_data import Call, Global
from models.weights.torch_files import (
    MAX_NESTING,
    PickleError,
    TensorView,
    find_tensor,
    open_torch_file,
    read_tensors,
)

WRAPPERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network"),
    *("generator", "weights", "params"),
)
"""Keys under which training scripts save the weights, the most usual ones first."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes that are removed if all names have them: of networks on several GPUs, of compiled ones,
and of the attribute of a training script that held the network."""
MAX_LISTED_KEYS = 5
MAX_MODULES = 100_000
START = 512  # bytes with which a file is recognized


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a weight file.

    A dictionary inside ``state_dict``, ``model`` or another of `WRAPPERS`, as training scripts save
    it, is unwrapped, and so is a whole network that was saved with `torch.save`. The prefix
    ``module.`` of networks that were trained on several GPUs is removed wherever it is, unless two
    tensors would then have one name; the other `PREFIXES` are removed if all names have them.

    Args:
        path: A .pth, .pth.tar, .pt, .bin or .safetensors file.

    Returns:
        Tensors by name, on the CPU; none if the file holds an empty dictionary.

    Raises:
        WeightsError: If the file cannot be read, or holds something else than named tensors.
    """
    path = Path(path)
    try:
        check_content(path)
        weights = _read_safetensors(path) if _is_safetensors(path) else _read_torch_file(path)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise WeightsError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    except WeightsError as error:
        raise WeightsError(f"{path} is not a weight file: {error}") from error
    except PickleError as error:
        raise WeightsError(f"{path} is not a weight file: it is damaged ({error})") from error
    except Exception as error:  # a damaged file can raise almost any exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(f"{path} is not a weight file: {reason}") from error
    stripped = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    weights = stripped if len(stripped) == len(weights) else weights
    while weights:
        prefix = next((p for p in PREFIXES if all(n.startswith(p) for n in weights)), None)
        if prefix is None:
            break
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def check_content(path: Path) -> None:
    """Check that a file does not start like one of another kind.

    Raises:
        WeightsError: It is empty, a web page, a pointer of git-lfs, or an archive. The message says
            what to do.
    """
    with path.open("rb") as file:
        start = file.read(START)
    if path.suffix == ".caffemodel":
        raise WeightsError(
            "files of Caffe itself are not read: convert it to PyTorch first, with the names of "
            "its layers"
        )
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise WeightsError("it is empty. Get it again")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError("it is a pointer of git-lfs: run `git lfs pull` where it was cloned")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise WeightsError(
            "it is a web page: the download failed, or the page asks for a confirmation. Open the "
            "address in a browser and get the file itself"
        )
    # The length that a file of safetensors begins with can look like " {", but holds zero bytes.
    if text.startswith((b"{", b"[")) and text.isascii() and b"\0" not in text:
        raise WeightsError("it is a text file (JSON). Get the file with the weights")
    for beginning, problem in (
        (b"\x1f\x8b", "it is compressed (gzip): unpack it first"),
        (b"7z\xbc\xaf", "it is a 7z archive: unpack it first"),
        (b"Rar!", "it is a RAR archive: unpack it first"),
        (b"\x89HDF", "it is an HDF5 file, as of Keras: convert it to PyTorch first"),
        (b"\x93NUMPY", "it is a NumPy array: convert it to a PyTorch state_dict first"),
    ):
        if start.startswith(beginning):
            raise WeightsError(problem)
    if start[257:262] == b"ustar":
        raise WeightsError(
            "it is a tar archive: unpack it first. (The ending .pth.tar usually is no archive. "
            "PyTorch of 2016 wrote archives, which PyTorch 1 can load and save again)"
        )


def _is_safetensors(path: Path) -> bool:
    """Tell whether a file is of the format safetensors: a length, and JSON of this length."""
    with path.open("rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    looks_like_it = start[8:] == b"{" and length <= path.stat().st_size - 8
    return path.suffix == ".safetensors" or looks_like_it


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file."""
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = load_file(path)
    return weights


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a file of `torch.save`."""
    with path.open("rb") as stream:
        file = open_torch_file(path, stream)
        return read_tensors(file, find_weights(file.content))


def find_weights(content: Any) -> dict[str, TensorView]:
    """Find the named tensors in the object of a file.

    Args:
        content: The object, as `models.weights.pickle_data.read_pickle` returns it.

    Returns:
        The tensors by name; other entries of the dictionary that has them are left out.

    Raises:
        WeightsError: There are none in a dictionary that is not empty, or it is not clear which
            ones are meant.
    """
    for _ in range(MAX_NESTING):
        module = dict(_list_module_tensors(content))
        if module:
            return module
        items = _get_items(content)
        if items is None:
            break
        key = next((k for k in WRAPPERS if _has_tensors_below(items.get(k))), None)
        if key is not None:
            content = items[key]
            continue
        found = {name: find_tensor(value) for name, value in items.items()}
        tensors = {n: view for n, view in found.items() if view is not None and isinstance(n, str)}
        if tensors:
            return tensors
        if not items:
            return {}
        groups = [k for k, value in items.items() if _has_tensors(value)]
        if len(groups) != 1:
            break
        content = items[groups[0]]
    raise WeightsError(f"expected tensors by name, got {_describe(content)}")


def _get_items(node: Any) -> dict[Any, Any] | None:
    """Return the items of a dictionary, an ordered dictionary or a network; None for others."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, Call) or not isinstance(node.function, Global):
        return None
    if node.function.name.rpartition(".")[2] in ("OrderedDict", "defaultdict"):
        items = dict(node.items)
        arguments = node.arguments if isinstance(node.arguments, tuple) else ()
        # Python 2 gives the items of an ordered dictionary as a list of pairs.
        for pair in arguments[0] if arguments and isinstance(arguments[0], list) else ():
            if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str):
                items[pair[0]] = pair[1]
        return items
    return node.state if _is_module(node) else None


def _is_module(node: Any) -> bool:
    """Tell whether an object is a pickled network: one with parameters and parts."""
    return (
        isinstance(node, Call)
        and isinstance(node.state, dict)
        and {"_parameters", "_modules"} <= node.state.keys()
    )


def _list_module_tensors(network: Any) -> Iterator[tuple[str, TensorView]]:
    """Yield the tensors of a pickled network by their names in its state dict.

    Raises:
        WeightsError: It has more parts than any network.
    """
    parts = [("", network)]
    for count in itertools.count():
        if not parts:
            return
        if count > MAX_MODULES:
            raise WeightsError(f"it holds a network of more than {MAX_MODULES} parts")
        prefix, node = parts.pop()
        if not _is_module(node):
            continue
        unsaved = _list_unsaved_buffers(node.state)
        for kind in ("_parameters", "_buffers"):
            for name, value in (_get_items(node.state.get(kind)) or {}).items():
                view = find_tensor(value)
                if view is not None and (kind == "_parameters" or name not in unsaved):
                    yield f"{prefix}{name}", view
        children = _get_items(node.state["_modules"]) or {}
        parts += [(f"{prefix}{name}.", child) for name, child in reversed(children.items())]


def _list_unsaved_buffers(state: dict[Any, Any]) -> list[Any]:
    """List the buffers of a pickled network that its state dict does not have."""
    names = state.get("_non_persistent_buffers_set")
    if isinstance(names, Call) and isinstance(names.arguments, tuple) and names.arguments:
        names = names.arguments[0]
    return names if isinstance(names, list) else []


def _has_tensors(node: Any) -> bool:
    """Tell whether an object is a dictionary with named tensors, or a network."""
    if _is_module(node):
        return True
    items = _get_items(node) or {}
    return any(isinstance(k, str) and find_tensor(v) is not None for k, v in items.items())


def _has_tensors_below(node: Any) -> bool:
    """Tell whether `_has_tensors` holds of an object, or of one in its dictionaries."""
    nodes, seen = [node], set[int]()
    while nodes:
        node = nodes.pop()
        if _has_tensors(node):
            return True
        if id(node) not in seen:  # a dictionary of a damaged file can contain itself
            seen.add(id(node))
            nodes += (_get_items(node) or {}).values()
    return False


def _describe(content: Any) -> str:
    """Describe an object without named tensors, in a few words."""
    if isinstance(content, Call):
        name = content.function.name if isinstance(content.function, Global) else "an object"
        if find_tensor(content) is not None:
            return "Tensor"
        if _get_items(content) is None:
            return f"an object made by {name}: save its state_dict alone"
    items = _get_items(content)
    if items is None:
        return type(content).__name__
    keys = [str(key)[:40] for key in list(items)[:MAX_LISTED_KEYS]]
    kinds = [v.function.name for v in items.values()
             if isinstance(v, Call) and isinstance(v.function, Global)]  # fmt: skip
    more = f", with objects such as {kinds[0]}, which are not read" if kinds else ""
    if any(_has_tensors(value) for value in items.values()):
        more = ", of which several hold tensors: save one of them alone"
    return f"dict with the keys {', '.join(keys) or 'none'}{more}"
