"""PyTorch datasets over stores, with their sampling and transforms."""
