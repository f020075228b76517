"""Functions whose modules are imported when they are called.

Flags are checked against tables of kinds before TensorFlow is loaded, which
takes seconds. Most functions in these tables need it.
"""

import importlib
from collections.abc import Callable
from typing import Any


def deferred(module: str, name: str) -> Callable[..., Any]:
    """Returns a function that imports and calls a function of tfllm.data.

    Args:
        module: Module below tfllm.data, such as "labelled.rows.texts".
        name: Name of the function.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        function = getattr(
            importlib.import_module(f"tfllm.data.{module}"), name
        )
        return function(*args, **kwargs)

    return call
