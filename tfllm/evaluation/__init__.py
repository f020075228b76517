"""Evaluation: the loop and the metrics."""
