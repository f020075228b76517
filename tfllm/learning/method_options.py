"""Options of training methods as flags, arguments and JSON records.

The flag of a method's first field is the name of the method; the flags of the
other fields begin with it: --r_drop, --adversarial, --adversarial_epsilon.
"""

import dataclasses
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from tfllm.learning.methods import METHODS, Method


def flags_of(kind: type[Method]) -> "dict[str, dataclasses.Field[Any]]":
    """Returns flag -> field of a method's options."""
    first, *others = dataclasses.fields(kind)
    return {
        kind.name: first,
        **{f"{kind.name}_{field.name}": field for field in others},
    }


def names() -> set[str]:
    """Returns the names of all flags of all methods."""
    return {flag for kind in METHODS.values() for flag in flags_of(kind)}


def from_flags(values: Mapping[str, Any]) -> tuple[Method, ...]:
    """Returns the methods that are on.

    Args:
        values: Flags by name. Missing ones take their defaults; flags of no
            method are ignored. The value of a method's first flag may also be
            the method, or a dict of its options.

    Raises:
        ValueError: An option is out of range, or its method is off.
    """
    methods = []
    for kind in METHODS.values():
        method = _from_flags(kind, values)
        if method.is_on:
            methods.append(method)
    return tuple(methods)


def _from_flags(kind: type[Method], values: Mapping[str, Any]) -> Method:
    """Returns one method, on or off."""
    whole = values.get(kind.name)
    if isinstance(whole, Method):
        return whole
    if isinstance(whole, Mapping):
        return kind(**whole)
    fields = flags_of(kind)
    method = kind(
        **{
            field.name: values[flag]
            for flag, field in fields.items()
            if flag in values
        }
    )
    if method.is_on:
        return method
    for flag, field in fields.items():
        if getattr(method, field.name) != field.default:
            raise ValueError(
                f"`{flag}` goes with `{kind.name}`. Received: {flag}="
                f"{values[flag]} with {kind.name}={kind.switch().default}"
            )
    return method


def to_flags(methods: Iterable[Method]) -> dict[str, Any]:
    """Returns the flags of the methods, with every option."""
    return {
        flag: getattr(method, field.name)
        for method in methods
        for flag, field in flags_of(type(method)).items()
    }


def taken_from(arguments: MutableMapping[str, Any]) -> tuple[Method, ...]:
    """Removes the options of methods from arguments of `compile`.

    Args:
        arguments: Arguments by name: `methods`, a list of methods or their
            JSON form, and flags of methods, such as `r_drop=0.5`.

    Returns:
        The methods that are on.

    Raises:
        ValueError: `from_flags` refuses an option, or a method is named
            twice.
    """
    listed = arguments.pop("methods", ())
    if isinstance(listed, Mapping):
        listed = from_record(listed)
    flags = {name: arguments.pop(name) for name in names() & arguments.keys()}
    flags = {name: value for name, value in flags.items() if value is not None}
    methods = (*listed, *from_flags(flags))
    for method in methods:
        if not isinstance(method, Method):
            raise ValueError(
                "`methods` must be a list of methods, such as "
                f"[RDrop(factor=0.5)]. Received: {method!r}"
            )
    kinds = [type(method).name for method in methods]
    if len(set(kinds)) < len(kinds):
        raise ValueError(
            f"`methods` must name each method once. Received: {kinds}"
        )
    return tuple(method for method in methods if method.is_on)


def to_record(methods: Iterable[Method]) -> dict[str, dict[str, Any]]:
    """Returns the JSON form: name of the method -> its options."""
    return {type(m).name: dataclasses.asdict(m) for m in methods}


def from_record(record: Mapping[str, Mapping[str, Any]]) -> tuple[Method, ...]:
    """Returns the methods of a JSON form.

    Args:
        record: Name of the method -> its options.

    Raises:
        ValueError: A method or an option is unknown.
    """
    methods = []
    for name, options in record.items():
        kind = METHODS.get(name)
        if kind is None:
            raise ValueError(
                f"`methods` must name some of {sorted(METHODS)}. "
                f"Received: {name!r}"
            )
        known = {field.name for field in dataclasses.fields(kind)}
        if unknown := sorted(options.keys() - known):
            raise ValueError(
                f"`{name}` must have options of {sorted(known)}. Received: "
                f"{unknown}"
            )
        methods.append(kind(**options))
    return tuple(methods)
