"""The kernels compiled for a GPU that need not be there, to look at what became of them."""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from flowkit.flow.pyramid_triton import build_level
from flowkit.flow.solve_triton import solve
from flowkit.flow.tvl1_triton import BLOCK, DEPTH, REGISTERS, WARPS

TYPES = {
    "sources": "*fp32",
    "pyramids": "*fp32",
    "pairs": "*i32",
    "levels": "*i32",
    "state": "*fp32",
    "change_sums": "*fp32",
    "flow": "*fp32",
    "work": "*i64",
    "step": "fp32",
    "epsilon2": "fp32",
    "enlargement": "fp32",
    "bound": "fp32",
    "tau": "fp32",
    "tau_by_theta": "fp32",
    "largest": "fp32",
}  # of the kernels' arguments by name; the others are i32


def compile_kernels(capability: int) -> dict[str, Any]:
    """Every kernel of the backend, in every variant that runs, for sm_``capability`` (80, 90, …).

    Needs no GPU, but a process in which Triton is not interpreted. Returns Triton's compiled
    kernels by name: ``asm["ptx"]``, ``asm["cubin"]``, ``metadata.shared``, ….
    """
    target = GPUTarget("cuda", capability, 32)
    shape = {"ITEMS": WARPS, "DEPTH": DEPTH}
    tuning = {"num_warps": WARPS, "num_stages": 1, "maxnreg": REGISTERS, "enable_fp_fusion": True}
    variants: dict[str, tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]] = {
        "solve": (solve, {}, {"QUANTIZED": False, **shape}, tuning),
        "solve_quantized": (solve, {"flow": "*u8"}, {"QUANTIZED": True, **shape}, tuning),
        "build_level": (build_level, {}, {"BLOCK": BLOCK}, {"enable_fp_fusion": True}),
        "build_first_level": (
            build_level, {"sources": "*u8"}, {"BLOCK": BLOCK}, {"enable_fp_fusion": True},
        ),
    }  # fmt: skip
    compiled = {}
    for name, (kernel, types, constants, options) in variants.items():
        known = {**TYPES, **types, **dict.fromkeys(constants, "constexpr")}
        signature = {argument: known.get(argument, "i32") for argument in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        compiled[name] = triton.compile(source, target=target, options=options)
    return compiled
