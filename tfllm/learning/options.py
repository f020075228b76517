"""Options that only some optimizers and schedules have."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any


def check_options(
    config: Any,
    options: type,
    flag: str,
    name: str,
    table: Mapping[str, Collection[str]],
) -> None:
    """Raises ValueError for an option that would have no effect.

    Args:
        config: Dataclass with the fields of `options`; unset ones are None.
        options: Dataclass whose fields are the options.
        flag: Flag of the choice, such as `optimizer`.
        name: The choice.
        table: Choice -> names of its options.
    """
    for field in dataclasses.fields(options):
        value = getattr(config, field.name)
        if value is None or field.name in table[name]:
            continue
        having = sorted(k for k, names in table.items() if field.name in names)
        raise ValueError(
            f"`{field.name}` goes with --{flag}={' or '.join(having)}. "
            f"Received: {field.name}={value} with --{flag}={name}"
        )


def options_of(config: Any, options: type) -> dict[str, Any]:
    """Returns the options of a config by name; unset ones are None."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(options)
    }
