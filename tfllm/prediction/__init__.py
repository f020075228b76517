"""Texts to results: forward pass, pooling, prediction jobs and pipelines."""
