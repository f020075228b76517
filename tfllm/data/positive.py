"""Checks that numbers in settings are positive."""


def check_positive(settings: object, *names: str) -> None:
    """Raises ValueError unless fields of a dataclass are at least 1.

    Args:
        settings: The dataclass.
        *names: Names of integer fields.
    """
    for name in names:
        value = getattr(settings, name)
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {value}.")
