"""Attention, one paper a file."""
