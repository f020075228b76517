"""Labelled data: files -> records -> rows -> batches."""
