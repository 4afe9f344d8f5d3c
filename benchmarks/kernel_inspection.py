"""Count layouts, barriers, instructions and spills in the compiled kernel of the solver.

No GPU is needed: the kernel is compiled for a given one (`kernel_compilation.py`), and its machine
code is disassembled with the tools that Triton contains. `kernels.py` prints these counts, and the
tests check that they stay within bounds.
"""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from kernel_compilation import compile_kernels

ROW_LAYOUTS = {("[1, 1]", "[1, 32]"), ("[1]", "[32]")}
"""Layouts (sizePerThread, threadsPerWarp) in which a warp covers 32 neighbours of a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCounts:
    """Counts of one compiled kernel."""

    kernel: str
    """Name of the kernel: a key of `compile_kernels`."""
    triton: str
    """Version of Triton that compiled it."""
    capability: int
    """Compute capability that it was compiled for, times 10."""
    conversions: int
    """Layout conversions: values that move between threads, mostly through shared memory."""
    scattered: int
    """Loads and stores of pixels in which a warp does not access 32 neighbours of a row."""
    fences: int
    """Barriers in the source of the kernel."""
    barriers: int
    """Barriers of all threads of a program, whatever their origin."""
    registers: int
    """Registers per thread."""
    step: dict[str, int]
    """Machine instructions in one step of the iterating loop, by kind."""

    @property
    def instructions(self) -> int:
        """Number of machine instructions in one step of the iterating loop."""
        return sum(self.step.values())

    @property
    def spilled(self) -> int:
        """Number of loads and stores of spilled registers in one step."""
        return self.step.get("LDL", 0) + self.step.get("STL", 0)


def inspect_solver(capability: int, name: str = "solve_quantized") -> KernelCounts:
    """Compile the solver's kernel and count what it consists of.

    Triton must not be in interpreter mode in this process.

    Args:
        capability: Compute capability times 10: 80, 90, ….
        name: Name of the kernel: a key of `compile_kernels`.

    Returns:
        The counts.
    """
    kernel = compile_kernels(capability, (name,))[name]
    ttgir, ptx = kernel.asm["ttgir"], kernel.asm["ptx"]
    usage, code = disassemble(kernel.asm["cubin"])
    registers = re.search(r"REG:(\d+)", usage)
    assert registers is not None, usage
    step = max(find_loops(code), key=lambda body: sum("MUFU.SQRT" in text for text in body))
    return KernelCounts(
        kernel=name,
        triton=triton.__version__,
        capability=capability,
        conversions=ttgir.count("ttg.convert_layout"),
        scattered=count_scattered(ttgir),
        fences=len(re.findall(r"\b(?:gpu|ttg)\.barrier\b", ttgir)),
        barriers=len(re.findall(r"\bbar(?:rier)?(?:\.cta)?\.sync\b", ptx)),
        registers=int(registers[1]),
        step=dict(Counter(map(name_instruction, step)).most_common()),
    )


def count_scattered(ttgir: str) -> int:
    """Count loads and stores of tensors whose layout is not along the rows of a tile.

    Args:
        ttgir: The kernel in Triton's GPU intermediate representation.

    Returns:
        The number of such accesses.

    Raises:
        ValueError: No access can be recognized.
    """
    layouts = {}
    for name, text in re.findall(r"^(#\w+) = (.*)$", ttgir, re.MULTILINE):
        fields = dict(re.findall(r"(\w+) = (\[[\d, ]*\])", text))
        layouts[name] = (fields.get("sizePerThread"), fields.get("threadsPerWarp"))
    accesses = re.findall(r"\btt\.(?:load|store)\b.*?tensor<[^#]*!tt\.ptr<\w+>, (#\w+)", ttgir)
    if not accesses:
        raise ValueError("this TTGIR has no loads and stores of tensors that can be recognized")
    return sum(layouts.get(layout) not in ROW_LAYOUTS for layout in accesses)


def disassemble(cubin: bytes) -> tuple[str, list[tuple[int, str]]]:
    """Disassemble a compiled kernel.

    Args:
        cubin: The binary.

    Returns:
        The resource usage, and (address, instruction) for each instruction.
    """
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"

    def run(option: str) -> str:
        command: list[Any] = [tool, option, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = run("-res-usage"), run("-sass")
    lines = re.findall(r"^\s+/\*([0-9a-f]+)\*/\s+(.*?);", code, re.MULTILINE)
    return usage, [(int(address, 16), text) for address, text in lines]


def find_loops(code: list[tuple[int, str]]) -> Iterator[list[str]]:
    """Find the innermost loops: from the target of a backward branch to the branch.

    Args:
        code: (address, instruction) for each instruction.

    Yields:
        The instructions of each loop.
    """
    spans = []
    for address, text in code:
        target = re.search(r"\bBRA\b.*0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < address:
            spans.append((int(target[1], 16), address))
    for first, last in spans:
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans):
            yield [text for address, text in code if first <= address <= last]


def name_instruction(instruction: str) -> str:
    """Return the kind of an instruction: FFMA, LDG, MUFU.SQRT, …."""
    words = re.sub(r"^@!?U?P\w+ ", "", instruction).split()[0].split(".")
    return ".".join(words[:2]) if words[0] == "MUFU" else words[0]
