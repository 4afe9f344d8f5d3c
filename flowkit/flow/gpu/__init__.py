"""TV-L1 on NVIDIA GPUs, compiled by Triton."""
