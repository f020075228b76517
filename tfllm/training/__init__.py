"""Training: the loop around fit, checkpoints, distribution, run folder."""
