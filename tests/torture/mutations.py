"""Change the bytes of a file, or the values in a JSON file, at random."""

import json
import random
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 1.5, -0.5, 1e308, float("nan"),
    float("inf"), "", "x", "zz" * 16, "\ud800", "\0", [], [1], ["x"], {}, {"x": 1},
)  # fmt: skip
"""What a value of a JSON file is replaced by."""


def mutate_file(path: Path, rng: random.Random, others: list[Path]) -> str:
    """Damage a file; return what was done."""
    data = path.read_bytes()
    if path.suffix in (".json", ".jsonl") and rng.random() < 0.6:
        mutated = mutate_json(data, rng)
        if mutated is not None:
            content, what = mutated
            replace_content(path, content)
            return what
    if others and rng.random() < 0.03:
        other = rng.choice(others)
        replace_content(path, other.read_bytes())
        return f"content of {other.name}"
    content, what = mutate_bytes(data, rng)
    replace_content(path, content)
    return what


def replace_content(path: Path, content: bytes) -> None:
    """Replace a file by a new one; the old one may be a hard link to that of the template."""
    path.unlink()
    path.write_bytes(content)


def mutate_bytes(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Flip, overwrite, cut, remove, repeat or insert bytes."""
    changed = bytearray(data)
    size = len(data)
    kind = rng.choice(
        ("flip", "flip", "flip", "integer", "zero", "cut", "remove", "repeat", "noise")
    )
    if not size:
        return b"\0" * rng.randrange(1, 9), "bytes in an empty file"
    at = rng.randrange(size)
    if rng.random() < 0.3:  # headers and footers are at the ends
        at = min(size - 1, rng.choice((at % 64, max(0, size - 1 - at % 512))))
    length = min(size - at, rng.choice((1, 4, 8, 64, 512)))
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 1, 8))):
            changed[rng.randrange(at, at + length)] ^= 1 << rng.randrange(8)
    elif kind == "integer":
        value = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), 255, 2**16))
        changed[at : at + 4] = value.to_bytes(4, "little", signed=True)
    elif kind == "zero":
        changed[at : at + length] = bytes(length)
    elif kind == "cut":
        del changed[at:]
    elif kind == "remove":
        del changed[at : at + length]
    elif kind == "repeat":
        changed[at:at] = data[at : at + length]
    else:
        changed[at : at + length] = rng.randbytes(length)
    return bytes(changed), f"{kind} {length} at {at} of {size}"


def mutate_json(data: bytes, rng: random.Random) -> tuple[bytes, str] | None:
    """Replace, remove or rename one value of a JSON file, or of a line; None if it is no JSON."""
    lines = data.splitlines()
    try:
        number = rng.randrange(len(lines))
        values = json.loads(lines[number])
    except ValueError:
        return None
    nodes = list(list_nodes(values, "")) if isinstance(values, dict | list) else []
    if not nodes:
        return None
    parent, key, name = rng.choice(nodes)
    kind = rng.random()
    if kind < 0.15:
        del parent[key]
        what = f"{name} removed"
    elif kind < 0.25 and isinstance(parent, dict):
        parent[key + "x"] = parent.pop(key)
        what = f"{name} renamed"
    else:
        parent[key] = rng.choice(VALUES)
        what = f"{name} = {parent[key]!a}"
    lines[number] = json.dumps(values).encode()
    return b"\n".join(lines) + b"\n" * data.endswith(b"\n"), what


def list_nodes(values: Any, name: str) -> Any:
    """Yield (parent, key, name) of every value inside of a JSON value."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in list(pairs):
        yield values, key, f"{name}.{key}"
        if isinstance(value, dict | list):
            yield from list_nodes(value, f"{name}.{key}")
