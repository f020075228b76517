"""Text to batches of masked language modelling."""
