"""The parts of `benchmarks/gpu.py`: pack, environment, steps, results and tables."""
