"""A corpus to batches of causal language modelling."""
