"""Builds a pretraining corpus: clean documents without duplicates."""
