"""Attention modules, one file for each paper."""
