"""TV-L1 by OpenCV's classes: the reference on the CPU, and CUDA where such a build is present."""
