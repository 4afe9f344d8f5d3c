"""Backbones: networks that turn images or clips into features and logits.

One file for each family. `build_backbone` builds a backbone by its name.
"""
