"""Checkpoints of other libraries: how each is recognised and read."""
