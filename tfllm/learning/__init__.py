"""Training step: gradients, optimizers, schedules, training methods."""
