"""Solve TV-L1 on the CPU with kernels compiled by Numba."""
