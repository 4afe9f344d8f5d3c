"""Training and evaluation of two-stream networks on frame stores; see recipe/ and runs/."""
