"""Compile the kernels for a given GPU, which need not be present, to inspect the result."""

from collections.abc import Collection
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from flowkit.flow.gpu.layout import BLOCK, DEPTH, TUNING, WARPS
from flowkit.flow.gpu.pyramid import build_level
from flowkit.flow.gpu.solve import solve
from flowkit.flow.params import PRESETS

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
    "finest_epsilon2": "fp32",
    "enlargement": "fp32",
    "bound": "fp32",
    "tau": "fp32",
    "tau_by_theta": "fp32",
    "threshold": "fp32",
}
"""Types of the kernels' arguments by name; all other arguments are i32."""


KERNELS = ("solve", "solve_quantized", "solve_filtered", "build_level", "build_first_level")
"""Names of the compiled variants."""


def compile_kernels(capability: int, names: Collection[str] = KERNELS) -> dict[str, Any]:
    """Compile the backend's kernels, in every variant that is used, without a GPU.

    Triton must not be in interpreter mode in this process.

    Args:
        capability: Compute capability times 10: 80, 90, ….
        names: Keys of the variants to compile.

    Returns:
        Triton's compiled kernels by name: ``asm["ptx"]``, ``asm["cubin"]``, ….
    """
    target = GPUTarget("cuda", capability, 32)
    shape = {"ITEMS": WARPS, "DEPTH": DEPTH}
    plain = {"MEDIAN_SIDE": 1, "FINEST_MEDIAN_SIDE": 1, **shape}
    schedules = [PRESETS["fast"].get_schedule(finest=finest) for finest in (False, True)]
    filtered = {
        "MEDIAN_SIDE": schedules[0].median_side, "FINEST_MEDIAN_SIDE": schedules[1].median_side,
        **shape,
    }  # fmt: skip
    variants: dict[str, tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]] = {
        "solve": (solve, {}, {"QUANTIZED": False, **plain}, TUNING),
        "solve_quantized": (solve, {"flow": "*u8"}, {"QUANTIZED": True, **plain}, TUNING),
        "solve_filtered": (solve, {"flow": "*u8"}, {"QUANTIZED": True, **filtered}, TUNING),
        "build_level": (build_level, {}, {"BLOCK": BLOCK}, {"enable_fp_fusion": True}),
        "build_first_level": (
            build_level, {"sources": "*u8"}, {"BLOCK": BLOCK}, {"enable_fp_fusion": True},
        ),
    }  # fmt: skip
    compiled = {}
    for name in names:
        kernel, types, constants, options = variants[name]
        known = {**TYPES, **types, **dict.fromkeys(constants, "constexpr")}
        signature = {argument: known.get(argument, "i32") for argument in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        compiled[name] = triton.compile(source, target=target, options=options)
    return compiled
