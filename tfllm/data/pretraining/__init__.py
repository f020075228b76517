"""A corpus to batches of pretraining, masked or causal."""
