"""Stores of arbitrary bytes, as the tests of the store have them."""

from tests.flowkit.store.conftest import make_root, stores

__all__ = ["make_root", "stores"]
