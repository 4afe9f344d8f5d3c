"""Training of one phase: steps, optimizers, schedules, checkpoints and validation."""
