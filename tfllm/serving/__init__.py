"""Exports a model folder as a SavedModel that takes strings."""
