"""A run: its flags, settings, starting point, data and results."""
