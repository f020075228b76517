"""Data with labels: files -> records -> rows -> batches."""
