"""Checks the licence identifiers of model cards."""

import re


def check_license(name: str | None) -> None:
    """Raises ValueError unless a name is None or a licence identifier."""
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name):
        raise ValueError(
            "`license` must be an identifier of the Hugging Face hub, such as "
            f"apache-2.0, mit, cc-by-4.0 or other. Received: {name!r}"
        )
