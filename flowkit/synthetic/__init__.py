"""Render synthetic datasets whose motion, classes and noise are known."""
