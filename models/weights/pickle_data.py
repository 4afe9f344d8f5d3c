"""Read a pickle as data: nothing in it is imported, called or built.

A pickle is a program for a small stack machine, which can import and call any function. This module
interprets the program without these two abilities. An object that `pickle` would import becomes a
`Global` with its name; one that it would build by a call becomes a `Call`, which holds the name and
the arguments of the function. So a pickle cannot run code here, whatever it contains.

The opcodes are those of protocols 0 to 5, which the standard library's `pickletools` describes.
Strings of Python 2 are decoded as Latin-1.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

MAX_OPCODES = 5_000_000  # ten times those of the largest checkpoints, some seconds of work
PLAIN = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
IGNORED = {"PROTO", "FRAME"}
MARK = object()


class PickleError(ValueError):
    """A pickle is damaged, too long, or of an unknown kind."""


class Global(NamedTuple):
    """A class or function that the pickle names, which is not imported."""

    name: str
    """Module and name, such as ``torch._utils._rebuild_tensor_v2``."""


class Persistent(NamedTuple):
    """An object that is stored outside of the pickle, such as the numbers of a tensor."""

    identifier: Any
    """What the pickle says about it."""


@dataclass(eq=False)
class Call:
    """An object that would be built by calling a function, which is not called."""

    function: Any
    """What would be called, usually a `Global`."""

    arguments: Any
    """The arguments, usually a tuple."""

    state: Any = None
    """What would be given to the object after it was built."""

    items: dict[Any, Any] = field(default_factory=dict)
    """Items that would be set afterwards, as for an ordered dictionary."""


class Machine:
    """The stack and the memo of one pickle."""

    def __init__(self) -> None:
        """Start with an empty stack."""
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.persistent: list[Persistent] = []

    def run(self, name: str, argument: Any) -> None:
        """Run one opcode.

        Args:
            name: Name of the opcode, as in `pickletools`.
            argument: Its argument in the file, or None.
        """
        if name in PLAIN:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name not in IGNORED:
            OPCODES[name](self, argument)

    def pop_to_mark(self) -> list[Any]:
        """Remove the objects above the last mark, and the mark, and return the objects."""
        index = len(self.stack) - 1
        while self.stack[index] is not MARK:
            index -= 1
            if index < 0:
                raise PickleError("a mark is missing")
        values = self.stack[index + 1 :]
        del self.stack[index:]
        return values

    def set_items(self, values: list[Any]) -> None:
        """Set pairs of keys and values in the dictionary on top of the stack.

        Keys other than strings and numbers are left out: they cannot name a tensor, and the hash of
        a deeply nested key would exhaust the stack of the interpreter.
        """
        target = self.stack[-1]
        items = target.items if isinstance(target, Call) else target
        if isinstance(items, dict):
            pairs = zip(values[::2], values[1::2], strict=True)
            items.update((k, v) for k, v in pairs if isinstance(k, str | int | float))

    def extend(self, values: list[Any]) -> None:
        """Add objects to the list or set on top of the stack."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def call(self, function: Any, arguments: Any) -> None:
        """Push a call, which is not made."""
        self.stack.append(Call(function, arguments))

    def build(self) -> None:
        """Keep the state that would be given to the object below it."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state

    def refer(self, identifier: Any) -> None:
        """Push an object that is stored outside of the pickle."""
        self.persistent.append(Persistent(identifier))
        self.stack.append(self.persistent[-1])


def read_pickle(file: BinaryIO) -> tuple[Any, list[Persistent]]:
    """Read the next pickle of a file.

    Args:
        file: A file that can be read and read by lines. Afterwards it is behind the pickle.

    Returns:
        The object, made of None, numbers, strings, bytes, lists (also for sets), tuples,
        dictionaries, `Global`, `Call` and `Persistent`; and all objects that are stored outside.

    Raises:
        PickleError: The pickle is damaged or too long.
    """
    machine = Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if opcode.name == "STOP":
                return machine.stack.pop(), machine.persistent
            if count >= MAX_OPCODES:
                raise PickleError(f"it has more than {MAX_OPCODES} instructions")
            machine.run(opcode.name, argument)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise PickleError(" ".join(str(error).split()) or type(error).__name__) from error
    raise PickleError("it has no end")


def _put(machine: Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else int(index)] = machine.stack[-1]


def _get(machine: Machine, index: int) -> None:
    machine.stack.append(machine.memo[int(index)])


def _make_tuple(machine: Machine, count: int) -> None:
    values = tuple(machine.stack[-count:])
    if len(values) < count:
        raise PickleError("the stack is empty")
    machine.stack[-count:] = [values]


def _make_dict(machine: Machine, argument: None) -> None:
    values = machine.pop_to_mark()
    machine.stack.append({})
    machine.set_items(values)


def _make_global(machine: Machine, argument: None) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    # Formatting anything else could exhaust the memory, or the stack of the interpreter.
    are_texts = isinstance(module, str) and isinstance(name, str)
    machine.stack.append(Global(f"{module}.{name}" if are_texts else "unknown"))


def _call_class(machine: Machine, argument: None) -> None:
    values = machine.pop_to_mark()
    machine.call(values[0], tuple(values[1:]))


def _call_with_arguments(machine: Machine, argument: None) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.call(function, arguments)


def _call_with_keywords(machine: Machine, argument: None) -> None:
    machine.stack.pop()
    _call_with_arguments(machine, argument)


def _set_item(machine: Machine, argument: None) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _append(machine: Machine, argument: None) -> None:
    value = machine.stack.pop()
    machine.extend([value])


OPCODES: dict[str, Callable[[Machine, Any], Any]] = {
    "MARK": lambda machine, _: machine.stack.append(MARK),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: _make_tuple(machine, 1),
    "TUPLE2": lambda machine, _: _make_tuple(machine, 2),
    "TUPLE3": lambda machine, _: _make_tuple(machine, 3),
    "DICT": _make_dict,
    "APPEND": _append,
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, name: machine.stack.append(Global(name.replace(" ", "."))),
    "STACK_GLOBAL": _make_global,
    "INST": lambda machine, name: machine.call(
        Global(name.replace(" ", ".")), tuple(machine.pop_to_mark())
    ),
    "OBJ": _call_class,
    "REDUCE": _call_with_arguments,
    "NEWOBJ": _call_with_arguments,
    "NEWOBJ_EX": _call_with_keywords,
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": lambda machine, identifier: machine.refer(identifier),
    "BINPERSID": lambda machine, _: machine.refer(machine.stack.pop()),
    **dict.fromkeys(
        ("EXT1", "EXT2", "EXT4"),
        lambda machine, number: machine.stack.append(Global(f"extension {number}")),
    ),
}
"""What each opcode does; those of `PLAIN`, `CONSTANTS` and `IGNORED` are not listed."""
