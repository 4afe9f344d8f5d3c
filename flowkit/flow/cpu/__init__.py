"""TV-L1 on the CPU, compiled by Numba."""
