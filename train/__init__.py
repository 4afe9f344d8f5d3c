"""Training and evaluation of two-stream networks on frame stores; see run.py and recipe.py."""
