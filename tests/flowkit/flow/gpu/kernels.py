# ruff: noqa: N803
"""Functions of the Triton solver as kernels of their own, so that tests can run them singly."""

import triton
import triton.language as tl

from flowkit.flow.gpu.iterate import sweep
from flowkit.flow.gpu.median import filter_flow
from flowkit.flow.gpu.warp import start_level, warp, write_flow


@triton.jit
def run_sweep(
    source, target, frozen, change, height, width, blocks, chunks, bound, tau, ratio,
    DEPTH: tl.constexpr, ITEMS: tl.constexpr,
):  # fmt: skip
    sweep(
        source, target, frozen, change, height, width, blocks, chunks, bound, tau, ratio, DEPTH,
        ITEMS,
    )  # fmt: skip


@triton.jit
def run_warp(frame0, frame1, moving, frozen, height, width, blocks, ITEMS: tl.constexpr):
    warp(frame0, frame1, moving, frozen, height, width, blocks, ITEMS)


@triton.jit
def run_start_level(
    source, source_height, source_width, source_blocks, target, height, width, blocks, factor,
    ITEMS: tl.constexpr,
):  # fmt: skip
    start_level(
        source, source_height, source_width, source_blocks, target, height, width, blocks, factor,
        ITEMS,
    )  # fmt: skip


@triton.jit
def run_write_flow(
    moving, flow, height, width, blocks, bound, QUANTIZED: tl.constexpr, ITEMS: tl.constexpr
):
    write_flow(moving, flow, tl.program_id(0), height, width, blocks, bound, QUANTIZED, ITEMS)


@triton.jit
def run_filter_flow(source, target, height, width, blocks, SIDE: tl.constexpr, ITEMS: tl.constexpr):
    filter_flow(source, target, height, width, blocks, SIDE, ITEMS)
