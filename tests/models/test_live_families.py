"""Each family beside an installed Transformers: outputs, folders, tokens.

Every family counts by itself: its cases come from its own `config()`, each
switch off its default in one of them. `python -m tools.parity_table` prints
what is asserted here.
"""

import json
import pathlib
from typing import Any

import pytest

from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tools import parity_cases, parity_compare, parity_rows
from tools.family_arguments import off_default

pytestmark = pytest.mark.live_parity


def _cases() -> list[Any]:
    """Family, head and config; beyond one language model they are wide.

    The recorded models of `test_parity.py` have every head, and all switches
    off their defaults.
    """
    cases = []
    for family, head, case in parity_cases.parameters():
        first = parity_cases.heads(family)[0]
        one = head == first and case == "default"
        marks = [] if one else [pytest.mark.wide]
        cases.append(
            pytest.param(
                family, head, case, id=f"{family}-{head}-{case}", marks=marks
            )
        )
    return cases


@pytest.fixture(autouse=True)
def references() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")


@pytest.mark.parametrize(("family", "head", "case"), _cases())
def test_outputs_and_folders_both_ways(
    family: str, head: str, case: str, tmp_path: pathlib.Path
) -> None:
    arguments = parity_cases.configs(family)[case]
    model = parity_cases.create(family, head, arguments)
    # Several files and an index.
    theirs = parity_compare.to_transformers(
        model, tmp_path / "ours", max_shard_bytes=20_000
    )
    index = "model.safetensors.index.json"
    assert (tmp_path / "ours" / index).exists()
    again = parity_compare.from_transformers(
        model, theirs, tmp_path / "theirs", max_shard_size="20KB"
    )
    assert (tmp_path / "theirs" / index).exists()
    for side in parity_cases.sides(model.config, head):
        for one in (model, again):
            difference = parity_compare.largest_difference(one, theirs, side)
            assert difference <= 1e-5, side


@pytest.mark.parametrize("family", FAMILIES)
def test_every_argument_is_off_its_default_in_a_case(family: str) -> None:
    cases = parity_cases.configs(family)
    assert len(cases) >= 3
    assert off_default(FAMILIES[family]) in cases.values()


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_keys(family: str, tmp_path: pathlib.Path) -> None:
    """A missing key means what it means in Transformers."""
    import transformers

    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": family}))
    ours = model_folder.read_config(path)[1]
    theirs = transformers.AutoConfig.for_model(family).to_dict()
    path.write_text(json.dumps(theirs))
    assert model_folder.read_config(path)[1] == ours


@pytest.mark.parametrize("family", FAMILIES)
def test_both_dialects_of_config_json(
    family: str, tmp_path: pathlib.Path
) -> None:
    """Transformers reads v4's keys as well; so do we, and v5's alone."""
    equal = parity_rows.dialects_equal(family, tmp_path)
    assert equal == {"v4": True, "v5": True}


@pytest.mark.parametrize("beams", [pytest.param(1, marks=pytest.mark.wide), 4])
@pytest.mark.parametrize(
    ("family", "case"),
    [
        pytest.param(family, case, marks=[pytest.mark.wide] * (i > 0))
        for family in FAMILIES
        if set(parity_cases.WRITERS) & set(parity_cases.heads(family))
        for i, case in enumerate(parity_cases.configs(family))
    ],
)
def test_tokens_equal(
    family: str, case: str, beams: int, tmp_path: pathlib.Path
) -> None:
    arguments = parity_cases.configs(family)[case]
    model = parity_cases.create_writer(family, arguments)
    theirs = parity_compare.to_transformers(model, tmp_path)
    pairs = parity_compare.written(model, theirs, beams)
    assert [ours for ours, _ in pairs] == [reference for _, reference in pairs]
    assert len({tuple(ours) for ours, _ in pairs}) > len(pairs) / 4
