"""What config.json of OPUS and of BART say about generation, beside theirs."""

import pathlib
from typing import Any

import pytest

from tools import parity_cases, parity_compare

pytestmark = pytest.mark.live_parity


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize(
    ("family", "rules"),
    [
        ("marian", {"bad_words_ids": [[0]], "forced_eos_token_id": 2}),
        pytest.param(
            "bart",
            {
                "forced_bos_token_id": 5,
                "forced_eos_token_id": 2,
                "no_repeat_ngram_size": 3,
                "min_new_tokens": 4,
            },
            marks=pytest.mark.wide,
        ),
    ],
)
def test_tokens_under_rules(
    family: str, rules: dict[str, Any], beams: int, tmp_path: pathlib.Path
) -> None:
    pytest.importorskip("transformers")
    arguments = parity_cases.configs(family)["default"]
    model = parity_cases.create_writer(family, arguments)
    theirs = parity_compare.to_transformers(model, tmp_path)
    pairs = parity_compare.written(model, theirs, beams, **rules)
    assert [ours for ours, _ in pairs] == [reference for _, reference in pairs]
    assert len({tuple(ours) for ours, _ in pairs}) > len(pairs) / 4
