"""Shows `Call args:` of layers and models as a table in the docs.

Google style has no such section. mkdocs.yml lists this file as an extension of
griffe, the parser of mkdocstrings.
"""

from typing import Any

import griffe


class CallArgs(griffe.Extension):
    """Turns `Call args:` into a section of parameters with that title."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites a docstring before it is parsed."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace(
                "Call args:\n", "Other Parameters: Call args:\n"
            )
