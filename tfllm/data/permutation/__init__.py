"""Text to batches of permutation language modelling."""
