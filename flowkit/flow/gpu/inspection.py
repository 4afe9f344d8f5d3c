"""Count what the compiler made of the solver's kernel: layouts, barriers, instructions, spills.

No GPU is needed: the kernel is compiled for a given one (`compilation.py`), and its
machine code is disassembled with the tools that Triton brings. `benchmarks/kernels.py` prints
these counts, and the tests hold them to bounds.
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

from flowkit.flow.gpu.compilation import compile_kernels

# How a warp's lanes must lie over a tile, in Triton's words: along a row, a pixel each.
ROW_LAYOUTS = {("[1, 1]", "[1, 32]"), ("[1]", "[32]")}  # sizePerThread, threadsPerWarp


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCounts:
    """What one compiled kernel consists of."""

    kernel: str
    """Which kernel: a key of `compile_kernels`."""
    triton: str
    """Version of Triton that compiled it."""
    capability: int
    """Compute capability it was compiled for, times 10."""
    conversions: int
    """Layout conversions: values that move between threads, most of them by shared memory."""
    scattered: int
    """Loads and stores of pixels in which a warp does not take 32 neighbours of a row."""
    fences: int
    """Barriers that the kernel's source asks for."""
    barriers: int
    """Barriers of all threads of a program, wherever they come from."""
    registers: int
    """Registers of a thread."""
    step: dict[str, int]
    """Machine instructions of one step of the loop that iterates, by kind."""

    @property
    def instructions(self) -> int:
        """Machine instructions of one step of the loop that iterates."""
        return sum(self.step.values())

    @property
    def spilled(self) -> int:
        """Loads and stores of spilled registers in one step."""
        return self.step.get("LDL", 0) + self.step.get("STL", 0)


def inspect_solver(capability: int, name: str = "solve_quantized") -> KernelCounts:
    """Compile the solver's kernel for sm_``capability`` and count what it consists of.

    Needs a process in which Triton is not interpreted.
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
    """Count loads and stores of tensors whose layout is not along the rows of a tile."""
    layouts = {}
    for name, text in re.findall(r"^(#\w+) = (.*)$", ttgir, re.MULTILINE):
        fields = dict(re.findall(r"(\w+) = (\[[\d, ]*\])", text))
        layouts[name] = (fields.get("sizePerThread"), fields.get("threadsPerWarp"))
    accesses = re.findall(r"\btt\.(?:load|store)\b.*?tensor<[^#]*!tt\.ptr<\w+>, (#\w+)", ttgir)
    if not accesses:
        raise ValueError("this TTGIR has no loads and stores of tensors that can be recognized")
    return sum(layouts.get(layout) not in ROW_LAYOUTS for layout in accesses)


def disassemble(cubin: bytes) -> tuple[str, list[tuple[int, str]]]:
    """Return resource usage, and (address, instruction) of a compiled kernel."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"

    def run(option: str) -> str:
        command: list[Any] = [tool, option, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = run("-res-usage"), run("-sass")
    found = re.findall(r"^\s+/\*([0-9a-f]+)\*/\s+(.*?);", code, re.MULTILINE)
    return usage, [(int(address, 16), text) for address, text in found]


def find_loops(code: list[tuple[int, str]]) -> Iterator[list[str]]:
    """Yield the instructions of each innermost loop: from a backward branch's target to it."""
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
