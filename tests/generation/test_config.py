"""GenerationConfig: what it refuses, and its JSON form."""

import json
from typing import Any

import pytest

from tfllm.generation import GenerationConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.5}, "`temperature` needs `do_sample`"),
        ({"top_k": 5}, "`top_k` needs `do_sample` or `penalty_alpha`"),
        ({"length_penalty": 2.0}, "`length_penalty` needs `num_beams`"),
        ({"num_beams": 2, "do_sample": True}, "neither `do_sample`"),
        ({"num_return_sequences": 2}, "at most `num_beams`"),
        ({"min_new_tokens": 9, "max_new_tokens": 5}, "Received: 9"),
        ({"num_beams": 3, "num_beam_groups": 2}, "multiple.*Received: 3"),
        ({"penalty_alpha": 0.5}, "`penalty_alpha` needs `top_k`"),
        ({"do_sample": True, "temperature": 0.0}, "above 0.*greedy"),
        ({"do_sample": True, "top_p": 1.5}, "at most 1. Received: 1.5"),
        ({"num_beams": 2, "early_stopping": "often"}, "'never'.*'often'"),
        ({"max_new_tokens": 0}, "at least 1. Received: 0"),
        ({"stop_strings": [""]}, "empty"),
    ],
)
def test_contradictions(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationConfig(**options)


def test_an_unknown_option_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="`max_new_token`.*`max_new_tokens`"):
        GenerationConfig().replace(max_new_token=3)


def test_json_round_trip() -> None:
    config = GenerationConfig(
        max_new_tokens=7,
        do_sample=True,
        top_k=4,
        eos_token_id=3,
        bad_words_ids=[[1, 2]],
        stop_strings="end",
    )
    values = json.loads(config.to_json())
    assert values["eos_token_id"] == 3
    assert GenerationConfig.from_published(values) == config


def test_published_files_may_hold_what_is_not_used() -> None:
    config = GenerationConfig.from_published(
        {
            "temperature": 0.6,
            "top_p": 0.9,
            "top_k": 50,
            "num_beams": None,
            "length_penalty": 2.0,
            "eos_token_id": [1, 2],
            "transformers_version": "5.0",
        }
    )
    assert config == GenerationConfig(eos_token_id=(1, 2))
