"""Makes the `config()` of a family from one that several families share."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tfllm.models.config import TransformerConfig

CreateConfig = Callable[..., TransformerConfig]


def without(create: CreateConfig, *names: str, **values: Any) -> CreateConfig:
    """Wraps `create` so that some of its arguments can no longer be set.

    Args:
        create: Returns a config.
        *names: Arguments that keep their default.
        **values: Arguments that have these values.
    """
    whole = inspect.signature(create)
    kept = whole.parameters.keys() - {*names, *values}
    signature = whole.replace(
        parameters=[p for p in whole.parameters.values() if p.name in kept]
    )

    def config(*args: Any, **arguments: Any) -> TransformerConfig:
        bound = signature.bind(*args, **arguments)
        return create(**values, **bound.arguments)

    config.__signature__ = signature  # type: ignore[attr-defined]
    return config


def extended(create: CreateConfig, change: CreateConfig) -> CreateConfig:
    """Returns a `config()` that has the arguments of two functions.

    Args:
        create: Returns a config.
        change: Takes the config and more arguments, by name; returns another
            config.
    """
    _, *own = inspect.signature(change).parameters.values()
    names = {parameter.name for parameter in own}

    @functools.wraps(change)
    def config(**arguments: Any) -> TransformerConfig:
        given = {k: arguments.pop(k) for k in names & {*arguments}}
        return change(create(**arguments), **given)

    first = inspect.signature(create)
    config.__signature__ = first.replace(  # type: ignore[attr-defined]
        parameters=[*first.parameters.values(), *own],
        return_annotation=TransformerConfig,
    )
    return config
