"""Solve TV-L1 on NVIDIA GPUs with kernels compiled by Triton."""
