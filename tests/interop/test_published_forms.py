"""Weights of every family in all forms in which folders are published."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfllm.models import FAMILIES
from tools import parity_folders
from tools.family_arguments import pretraining_class

# Relative, of half precision.
ROUNDING = {"float16": 1e-3, "bfloat16": 1e-2}
# They depend on the tables of a family.
NAMES = ("tied copies", "only tied copies", "no prefix", "buffers")
CASES = [
    pytest.param(
        family,
        form,
        id=f"{family}-{form}",
        marks=[] if form in NAMES else [pytest.mark.wide],
    )
    for family in FAMILIES
    for form in parity_folders.forms_of(*parity_folders.recorded(family))
    if form != "one file"
]


@pytest.fixture(name="published", scope="module")
def _published(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Returns a function: family -> config.json, forms, model, weights."""
    made: dict[str, Any] = {}

    def create(name: str) -> Any:
        if name not in made:
            made.clear()
            values, tensors = parity_folders.recorded(name)
            config = FAMILIES[name].from_published(values)
            model = pretraining_class(config)(config)
            model.build()
            folder = tmp_path_factory.mktemp("one") / "file"
            parity_folders.write(folder, "one file", values, tensors)
            weights = parity_folders.load(model, folder)
            assert not any((weight == 9.0).any() for weight in weights)
            forms = parity_folders.forms_of(values, tensors)
            made[name] = values, forms, model, weights
        return made[name]

    return create


@pytest.mark.parametrize(("family", "form"), CASES)
def test_weights_are_equal(
    family: str,
    form: str,
    published: Callable[..., Any],
    tmp_path: pathlib.Path,
) -> None:
    values, forms, model, expected = published(family)
    folder = tmp_path / "model"
    parity_folders.write(folder, form, values, forms[form])
    weights = parity_folders.load(model, folder)
    tolerance = ROUNDING.get(form, 0.0)
    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=tolerance, atol=1e-7)
