"""One phase of a training: steps, optimizers, schedules, checkpoints, validation."""
