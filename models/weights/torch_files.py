"""Read the tensors of files of `torch.save`, without running any code in them.

Two formats are read. Since version 1.6 PyTorch writes a zip archive: ``NAME/data.pkl`` is a pickle,
and ``NAME/data/0``, ``NAME/data/1`` … have the numbers of the tensors. Earlier versions wrote five
pickles (a magic number, a version, facts about the machine, the object, the keys of the storages)
followed by the storages, each with its number of elements before it.

A storage is a row of numbers, of which a tensor is a view: offset, shape and strides. Only those
storages are read that a wanted tensor needs, so that the state of an optimizer costs nothing.
"""

import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import torch
from torch import Tensor

from models.weights.errors import WeightsError
from models.weights.pickle_data import Call, Global, Persistent, PickleError, read_pickle

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
MAX_DIMENSIONS = 16
MAX_NESTING = 8  # of calls around a tensor, and of dictionaries around the weights
MAX_REPEATED = 1 << 29  # bytes of a tensor whose numbers the file has only once
DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "UntypedStorage": torch.uint8,
}  # fmt: skip
REBUILDERS = {
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
}
# Functions and classes whose first argument is a tensor, which they only wrap.
TENSOR_WRAPPERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
    "torch.autograd.variable.Variable",
    "torch.autograd.Variable",
}


class Storage(NamedTuple):
    """A storage that a pickle refers to."""

    key: str
    """Its name in the file."""

    dtype: torch.dtype
    """Type of its elements."""

    start: int
    """First element, for a view of a larger storage; otherwise 0."""

    @classmethod
    def parse(cls, persistent: Persistent) -> Self:
        """Read the reference of a pickle.

        Raises:
            WeightsError: It is not the reference of a storage.
        """
        match persistent.identifier:
            case ("storage", Global(name), key, str(), int(), *more):
                dtype = DTYPES.get(name.rpartition(".")[2])
                view = more[0] if more else None
                start = view[1] if isinstance(view, tuple) and len(view) == 3 else 0
                if dtype is not None and isinstance(start, int):
                    return cls(str(key), dtype, start)
        raise WeightsError("it refers to an unknown kind of storage")


class TensorView(NamedTuple):
    """A tensor of a file, before its numbers are read."""

    storage: Storage
    """The storage with its numbers."""

    offset: int
    """First element in the storage."""

    shape: tuple[int, ...]
    """Shape of the tensor."""

    strides: tuple[int, ...]
    """Distance in elements between neighbours along each dimension."""

    dtype: torch.dtype
    """Type of its elements."""


class TorchFile(NamedTuple):
    """What a file of `torch.save` holds."""

    content: Any
    """The object, as `read_pickle` returns it."""

    read_storage: Callable[[Storage], bytearray]
    """A function that reads the bytes of a storage."""

    num_bytes: int
    """Size of the file."""


def open_torch_file(path: Path, file: BinaryIO) -> TorchFile:
    """Read the object of a file of `torch.save`, but not yet its tensors.

    Args:
        path: The file.
        file: The open file, at its beginning. It must stay open while tensors are read.

    Raises:
        WeightsError: It is not such a file, or it is damaged.
        PickleError: Its pickle is damaged.
    """
    start = file.read(2)
    file.seek(0)
    return _open_zip(path, file) if start == b"PK" else _open_legacy(path, file)


def _open_zip(path: Path, file: BinaryIO) -> TorchFile:
    """Open a zip archive of `torch.save`."""
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise WeightsError(
            "it is incomplete: a zip archive without its end, as after an interrupted download. "
            "Get it again"
        ) from error
    names = archive.namelist()
    pickled = next((n for n in names if n.endswith("/data.pkl") and n.count("/") == 1), None)
    if pickled is None:
        inner = ", ".join(names[:3]) or "nothing"
        raise WeightsError(f"it is a zip archive of other files ({inner}): unpack it first")
    folder = pickled.rpartition("/")[0]
    if any(name.startswith(f"{folder}/code/") for name in names):
        raise WeightsError("it is a program of TorchScript: save the state_dict of the network")
    if archive.getinfo(pickled).compress_type != zipfile.ZIP_STORED:
        raise WeightsError("it was compressed by another program: save it again with torch.save")
    order = f"{folder}/byteorder"
    if order in names and archive.read(order) != b"little":
        raise WeightsError("it was written on a big-endian machine, which is not supported")
    # Its instructions are read byte by byte, which is slow in the archive itself.
    with io.BufferedReader(archive.open(pickled)) as stream:  # type: ignore[type-var]
        content, _ = read_pickle(stream)

    def read_storage(storage: Storage) -> bytearray:
        try:
            info = archive.getinfo(f"{folder}/data/{storage.key}")
        except KeyError as error:
            raise WeightsError(f"it is damaged: storage {storage.key} is missing") from error
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > path.stat().st_size:
            raise WeightsError(f"it is damaged: storage {storage.key} is larger than the file")
        return bytearray(archive.read(info))

    return TorchFile(content, read_storage, path.stat().st_size)


def _open_legacy(path: Path, file: BinaryIO) -> TorchFile:
    """Open a file of pickles, as PyTorch wrote before version 1.6."""
    if read_pickle(file)[0] != MAGIC_NUMBER or read_pickle(file)[0] != PROTOCOL_VERSION:
        raise WeightsError("it is a pickle, but not of torch.save: save a state_dict with it")
    system = read_pickle(file)[0]
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise WeightsError("it was written on a big-endian machine, which is not supported")
    content, references = read_pickle(file)
    sizes: dict[str, int] = {}
    for reference in references:
        if _is_source_code(reference):
            continue
        storage = Storage.parse(reference)
        sizes[storage.key] = storage.dtype.itemsize
    keys = read_pickle(file)[0]
    num_bytes = path.stat().st_size
    places: dict[str, tuple[int, int]] = {}
    for key in map(str, keys if isinstance(keys, list) else ()):
        length = int.from_bytes(file.read(8), "little", signed=True) * sizes.get(key, 0)
        position = file.tell()
        if key not in sizes or length < 0 or position + length > num_bytes:
            raise WeightsError("it is incomplete, as after an interrupted download. Get it again")
        places[key] = (position, length)
        file.seek(position + length)

    def read_storage(storage: Storage) -> bytearray:
        if storage.key not in places:
            raise WeightsError(f"it is damaged: storage {storage.key} is missing")
        position, length = places[storage.key]
        file.seek(position)
        return bytearray(file.read(length))

    return TorchFile(content, read_storage, num_bytes)


def _is_source_code(reference: Persistent) -> bool:
    """Tell whether a reference is the source code of a pickled network, which is not read."""
    identifier = reference.identifier
    return isinstance(identifier, tuple) and identifier[:1] == ("module",)


def find_tensor(node: Any) -> TensorView | None:
    """Recognize a tensor, or a parameter, in what `read_pickle` returned.

    Args:
        node: Any part of it.

    Returns:
        The tensor; None for anything else.
    """
    for _ in range(MAX_NESTING):
        if not isinstance(node, Call) or not isinstance(node.function, Global):
            return None
        name, arguments = node.function.name, node.arguments
        if not isinstance(arguments, tuple) or not arguments:
            return None
        if name in REBUILDERS:
            return _parse_tensor(arguments)
        if name == "torch._tensor._rebuild_from_type_v2" and len(arguments) == 4:
            node = Call(arguments[0], arguments[2])
        elif name in TENSOR_WRAPPERS:
            node = arguments[0]
        else:
            return None
    return None


def _parse_tensor(arguments: tuple[Any, ...]) -> TensorView | None:
    """Read the arguments with which PyTorch would rebuild a tensor."""
    match arguments:
        case (Persistent() as reference, int(offset), tuple(shape), tuple(strides), *more):
            storage = Storage.parse(reference)
            dtype = storage.dtype
            if len(more) >= 3 and isinstance(more[2], Global):  # the version for new types
                named = vars(torch).get(more[2].name.removeprefix("torch."))
                dtype = named if isinstance(named, torch.dtype) else dtype
            numbers = (offset, *shape, *strides)
            if len(shape) == len(strides) <= MAX_DIMENSIONS and all(
                type(number) is int and number >= 0 for number in numbers
            ):
                return TensorView(storage, offset, shape, strides, dtype)
    return None


def read_tensors(file: TorchFile, views: dict[str, TensorView]) -> dict[str, Tensor]:
    """Read the numbers of tensors.

    Args:
        file: The open file.
        views: The tensors by name.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        WeightsError: A tensor claims more numbers than the file has.
    """
    storages: dict[str, bytearray] = {}
    tensors: dict[str, Tensor] = {}
    for name, view in views.items():
        key = view.storage.key
        if key not in storages:
            storages[key] = file.read_storage(view.storage)
            if sum(map(len, storages.values())) > file.num_bytes:
                raise WeightsError("it is damaged: its storages are larger than the file")
        first = view.storage.start + view.offset
        pairs = zip(view.shape, view.strides, strict=True)
        end = first + 1 + sum((size - 1) * stride for size, stride in pairs)
        count, itemsize = math.prod(view.shape), view.dtype.itemsize
        largest = max(file.num_bytes, MAX_REPEATED)  # a view may show the same numbers repeatedly
        if count and (end * itemsize > len(storages[key]) or count * itemsize > largest):
            raise WeightsError(f"it is damaged: {name} {view.shape} is larger than its storage")
        if not count:
            tensors[name] = torch.empty(view.shape, dtype=view.dtype)
            continue
        usable = len(storages[key]) // itemsize * itemsize
        numbers = torch.frombuffer(storages[key], dtype=view.dtype, count=usable // itemsize)
        tensors[name] = numbers.as_strided(view.shape, view.strides, first)
    return tensors


__all__ = ["PickleError", "TensorView", "TorchFile", "find_tensor", "open_torch_file",
           "read_tensors"]  # fmt: skip
