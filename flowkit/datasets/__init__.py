"""Provide PyTorch datasets over frame stores, with their sampling and transforms."""
