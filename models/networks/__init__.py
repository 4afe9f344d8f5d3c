"""Whole networks: backbones joined by attention, and networks of sets of features."""
