"""Checkpoints of other libraries: how each is recognized and read."""
