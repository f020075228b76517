"""The signatures that each kind of task is exported with."""
