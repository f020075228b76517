"""From a model folder to a SavedModel that takes strings, and its answers."""
