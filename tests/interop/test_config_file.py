"""What `--model` may name."""

import pathlib

import pytest

from tests.interop.small_folder import (
    SMALL,
)
from tfllm.interop import model_folder
from tfllm.models import FAMILIES


def test_resolve_model(folder: pathlib.Path) -> None:
    family = FAMILIES["bert"]
    resolve = model_folder.resolve_model
    assert resolve("bert:tiny") == family.size("tiny")
    config = resolve("bert:mini", vocab_size=100, dropout=0.0)
    assert config == family.size("mini", vocab_size=100, dropout=0.0)
    small = family.config(**SMALL)
    assert resolve(str(folder)) == small
    assert resolve(str(folder / "config.json"), dropout=None) == small
    assert resolve(
        str(folder / "config.json"), vocab_size=9, dropout=0.0
    ) == family.config(**{**SMALL, "vocab_size": 9, "dropout": 0.0})


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("bert:tinny", "bert:tiny"),
        ("brt:large", "bert:large"),
        ("bert", "bert:"),
        ("gpt", "gpt2:"),
        ("", ""),
    ],
)
def test_unknown_model(spec: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"Did you mean '{near}") as error:
        model_folder.resolve_model(spec)
    assert repr(spec) in str(error.value)


def test_overrides_that_a_file_cannot_take(folder: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="`num_layers` cannot be set"):
        model_folder.resolve_model(str(folder), num_layers=3)
    with pytest.raises(ValueError, match=r"missing\.json"):
        model_folder.resolve_model("missing.json")
