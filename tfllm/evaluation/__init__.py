"""Evaluation: the loop over batches, figures and charts."""
