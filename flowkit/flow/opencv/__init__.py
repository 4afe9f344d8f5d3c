"""Compute TV-L1 with OpenCV's classes: the reference on the CPU, and CUDA builds of OpenCV."""
