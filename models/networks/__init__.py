"""Whole networks: backbones combined by attention, and networks for sets of features."""
