"""Find the weight file of a learned method, read it, and identify the weights by a digest.

Nothing is downloaded: a file that is not there is named in the error, with the folder in which it
is looked for.
"""

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from flowkit.errors import FlowError
from flowkit.flow.learned.method import Weights, WeightsMismatchError
from flowkit.flow.learned.registry import find_method, find_usable_method
from flowkit.path_text import printable_path


class FoundWeights(NamedTuple):
    """A weight file that fits its method."""

    path: Path
    """Absolute path of the file."""
    digest: str
    """Digest of its tensors, see `digest_weights`."""


def choose_weights(name: str, path: Path | None) -> FoundWeights:
    """Find the weights of a method and check that they are of its network.

    Args:
        name: Name of the method.
        path: The weight file; None for the file in PyTorch's cache.

    Returns:
        The file, with the digest of its weights.

    Raises:
        UsageError: No method has that name.
        FlowError: The method cannot run here, the file is missing or is no weight file, or the
            weights are those of another network.
    """
    find_usable_method(name)
    file = find_weights_file(name, path)
    weights = read_weights(file)
    load_network(name, file, weights, "cpu")
    return FoundWeights(file, digest_weights(weights))


def find_weights_file(name: str, path: Path | None) -> Path:
    """Find the weight file of a method.

    Args:
        name: Name of the method.
        path: The file that the user named; None for the file in PyTorch's cache.

    Returns:
        Absolute path of the file.

    Raises:
        UsageError: No method has that name.
        FlowError: There is no such file.
    """
    method = find_method(name)
    if path is not None:
        if not path.is_file():
            problem = "is a folder" if path.is_dir() else "does not exist"
            raise FlowError(
                f"the weight file {printable_path(path)} of {name} {problem}: "
                f"expected a file such as {method.weights_file}"
            )
        return path.absolute()
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"  # where torchvision downloads weights to
    file = folder / method.weights_file
    if not file.is_file():
        command = method.download_command
        download = f"download it on a machine with a network ({command})" if command else "get it"
        raise FlowError(
            f"the weights of {name} are not on this machine: expected {method.weights_file} in "
            f"{printable_path(folder)}. flowkit does not download them: {download} and copy it "
            "there, or name a weight file with --flow-weights FILE"
        )
    return file.absolute()


def read_weights(path: Path) -> Weights:
    """Read the tensors of a weight file; no code in the file is run.

    Args:
        path: A .pth, .pt or .safetensors file. A dictionary inside ``state_dict`` or ``model`` is
            unwrapped, and the prefix ``module.`` of names is removed.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        FlowError: The file cannot be read, or holds something other than tensors by name.
    """
    import torch
    from safetensors.torch import load_file

    content: Any
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about files that are then refused
                content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FlowError(
            f"cannot read {printable_path(path)}: {error.strerror or error}; check the file and "
            "its permissions"
        ) from error
    except Exception as error:  # a damaged file can raise almost any exception
        raise FlowError(f"{printable_path(path)} {explain_read_error(path, error)}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    items = content.items() if isinstance(content, dict) else ()
    others = [(n, v) for n, v in items if not (isinstance(n, str) and torch.is_tensor(v))]
    if others or not items:
        actual = "nothing" if isinstance(content, dict) else type(content).__name__
        if others:
            name, value = others[0]
            actual = f"{type(value).__name__} as {name!r}"
        raise FlowError(
            f"{printable_path(path)} holds no weights: expected tensors by name, got {actual}"
        )
    for name, tensor in content.items():
        if kind := find_unusual_kind(tensor):
            raise FlowError(
                f"{printable_path(path)} cannot be used: {name} is a {kind} tensor, expected plain "
                "tensors of real numbers"
            )
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def find_unusual_kind(tensor: Any) -> str | None:
    """Return in a word why a tensor holds no plain real numbers; None if it does."""
    import torch

    if tensor.layout is not torch.strided:
        return "sparse"
    if tensor.is_meta:
        return "meta (without values)"
    if tensor.is_quantized:
        return "quantized"
    return "complex" if tensor.is_complex() else None


def explain_read_error(path: Path, error: Exception) -> str:
    """Explain in one line why a file could not be read as a weight file."""
    expected = "expected tensors by name, as torch.save(network.state_dict(), file) writes them"
    if isinstance(error, pickle.UnpicklingError):
        # PyTorch's message advises to load the file without checks, which would run its code.
        with path.open("rb") as file:
            is_torch_file = file.read(2) in (b"PK", b"\x80\x02")
        problem = "holds more than tensors" if is_torch_file else "is not a weight file"
        return f"{problem}: {expected}"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"is not a weight file: {expected} ({reason})"


def digest_weights(weights: Weights) -> str:
    """Compute a digest that identifies weights, whatever file they are read from.

    It covers the sorted names, the shapes and the values as little-endian float32, as the digest of
    a feature stream's weights does. Counters of batch normalization do not affect any output and
    are left out.

    Args:
        weights: Tensors by name.

    Returns:
        A BLAKE2b digest of 128 bits, as 32 hexadecimal digits.
    """
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = weights[name].detach().to("cpu", torch.float32)
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def load_network(name: str, path: Path, weights: Weights, device: str) -> Any:
    """Build the network of a method with its weights.

    Args:
        name: Name of the method.
        path: File from which the weights were read, for the message of an error.
        weights: Tensors by name.
        device: ``cpu`` or ``cuda``.

    Returns:
        The network, as the method's ``load`` returns it.

    Raises:
        UsageError: No method has that name.
        FlowError: The method cannot run here, or the weights are those of another network.
    """
    try:
        return find_usable_method(name).load(weights, device)
    except WeightsMismatchError as error:
        raise FlowError(
            f"{printable_path(path)} does not hold the weights of {name}: {error}"
        ) from error
