"""Outputs of tasks to labels, tags, answers and probabilities."""
