"""The formats in which a store can be exported: one module for each, listed in registry.py."""
