"""How a family gets its `config()` from one that families share."""

import functools
import inspect
from typing import Any

import pytest

from tfllm.models.arguments import extended, without


def create(family: str, /, width: int = 1, depth: int = 2, end: int = 3) -> Any:
    return family, width, depth, end


def names(config: Any) -> dict[str, Any]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(config).parameters.items()
    }


def test_arguments_that_a_family_does_not_have() -> None:
    config: Any = without(
        functools.partial(create, "f", width=5), "depth", end=7
    )
    assert names(config) == {"width": 5}
    assert config() == ("f", 5, 2, 7)
    assert config(width=6) == ("f", 6, 2, 7)
    for name in ("depth", "end", "other"):
        with pytest.raises(TypeError, match=name):
            config(**{name: 1})


def test_arguments_of_two_functions() -> None:
    def change(config: Any, *, more: int = 9) -> Any:
        return *config, more

    config: Any = extended(functools.partial(create, "f", end=4), change)
    assert names(config) == {"width": 1, "depth": 2, "end": 4, "more": 9}
    assert config(depth=0) == ("f", 1, 0, 4, 9)
    assert config(more=0) == ("f", 1, 2, 4, 0)
    with pytest.raises(TypeError, match="other"):
        config(other=1)
