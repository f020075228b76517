"""GenerationConfig: what it refuses, and its JSON form."""

import json
import math
from typing import Any

import numpy as np
import pytest

from tfllm.generation import GenerationConfig
from tfllm.generation.config import left_out, with_new_lengths


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.5}, "`temperature` needs `do_sample`"),
        ({"top_k": 5}, "`top_k` needs `do_sample` or `penalty_alpha`"),
        ({"length_penalty": 2.0}, "`length_penalty` needs `num_beams`"),
        (
            {"num_beams": 2, "num_beam_groups": 2, "do_sample": True},
            "not go with `do_sample`.*Received: num_beam_groups=2",
        ),
        (
            {"num_beams": 2, "penalty_alpha": 0.5, "top_k": 4},
            "not go with `penalty_alpha`. Received: num_beams=2",
        ),
        ({"num_return_sequences": 2}, "at most `num_beams`"),
        (
            {"do_sample": True, "num_beams": 2, "num_return_sequences": 3},
            "at most `num_beams`.*Received: 3 with num_beams=2",
        ),
        ({"min_new_tokens": 9, "max_new_tokens": 5}, "Received: 9"),
        ({"num_beams": 3, "num_beam_groups": 2}, "multiple.*Received: 3"),
        ({"penalty_alpha": 0.5}, "`penalty_alpha` needs `top_k`"),
        ({"do_sample": True, "temperature": 0.0}, "above 0.*greedy"),
        ({"do_sample": True, "top_p": 1.5}, "at most 1. Received: 1.5"),
        ({"num_beams": 2, "early_stopping": "often"}, "'never'.*'often'"),
        ({"max_new_tokens": 0}, "at least 1. Received: 0"),
        ({"stop_strings": [""]}, "empty"),
        ({"presence_penalty": math.nan}, "`presence_penalty`.*finite.*nan"),
        ({"num_beams": 2, "length_penalty": math.nan}, "finite.*nan"),
        ({"do_sample": True, "temperature": math.inf}, "finite.*inf"),
        ({"do_sample": True, "temperature": "0.7"}, "finite number.*'0.7'"),
        (
            {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": -1.0},
            "`diversity_penalty` must be at least 0. Received: -1",
        ),
        ({"max_new_tokens": 2.5}, "`max_new_tokens`.*integer.*2.5"),
        ({"no_repeat_ngram_size": 2**40}, "below 2 \\*\\* 31. Received: 1099"),
        ({"suppress_tokens": 2**40}, "an id or a list of ids. Received: 1099"),
        ({"do_sample": True, "temperature": 1e-40}, "of float32.*1e-40"),
        ({"presence_penalty": 1e39}, "finite number of float32. Received: 1e"),
        ({"repetition_penalty": 0.0}, "above 0. Received: 0.0$"),
        ({"seed": True}, "`seed` must be an integer. Received: True"),
        ({"seed": 2**63}, "`seed` must be a signed 64.*9223372036854775808"),
        ({"do_sample": "yes"}, "true or false. Received: 'yes'"),
        ({"eos_token_id": 1.5}, "`eos_token_id` must be an id.*1.5"),
        ({"eos_token_id": "2"}, "`eos_token_id` must be an id.*'2'"),
        ({"bad_words_ids": [1, 2]}, "list of lists of ids.*\\[1, 2\\]"),
        ({"suppress_tokens": -1}, "`suppress_tokens`.*below 0.*-1"),
        ({"bad_words_ids": [[3, -4]]}, "`bad_words_ids`.*below 0.*-4"),
        ({"forced_eos_token_id": -2}, "`forced_eos_token_id`.*below 0.*-2"),
        (
            {"forced_eos_token_id": 2, "suppress_tokens": [2]},
            "`forced_eos_token_id` must not be suppressed.*Received: 2",
        ),
    ],
)
def test_contradictions(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({name: 9}, f"`{name}` must be below 9.*Received: 9")
        for name in (
            "suppress_tokens",
            "begin_suppress_tokens",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
        )
    ]
    + [
        ({"bad_words_ids": [[1, 9]]}, "`bad_words_ids` must be below 9"),
        ({"suppress_tokens": range(9)}, "must leave a token.*all 9"),
        (
            {
                "suppress_tokens": range(6),
                "begin_suppress_tokens": [6],
                "bad_words_ids": [[7]],
                "eos_token_id": 8,
                "min_new_tokens": 1,
            },
            "must leave a token.*all 9",
        ),
    ],
)
def test_ids_outside_a_vocabulary(
    options: dict[str, Any], message: str
) -> None:
    config = GenerationConfig(**options)
    config.check_vocabulary(10)
    with pytest.raises(ValueError, match=message):
        config.check_vocabulary(9)


def test_numbers_of_numpy_become_those_of_python() -> None:
    config = GenerationConfig(
        do_sample=True,
        top_k=np.int64(4),
        temperature=np.float64(0.5),
        eos_token_id=np.array([1, 2]),
    )
    assert json.loads(config.to_json()) == {
        "do_sample": True,
        "top_k": 4,
        "temperature": 0.5,
        "eos_token_id": [1, 2],
    }


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


@pytest.mark.parametrize("top_k", [0, 7])
def test_transformers_samples_from_as_many_tokens(top_k: int) -> None:
    transformers = pytest.importorskip("transformers")
    config = GenerationConfig(do_sample=True, top_k=top_k)
    values = json.loads(config.to_json())
    assert transformers.GenerationConfig.from_dict(values).top_k == top_k
    assert GenerationConfig.from_published(values) == config
    # Where a file says nothing, both take the same.
    for values in ({"do_sample": True}, {"do_sample": True, "top_k": None}):
        assert GenerationConfig.from_published(values).top_k == 50
        theirs = transformers.GenerationConfig.from_dict(values)
        defaults = theirs._get_default_generation_params()
        assert theirs.top_k is None
        assert defaults["top_k"] == 50
    assert "top_k" not in json.loads(GenerationConfig().to_json())


def test_published_files_may_hold_what_is_not_used() -> None:
    config = GenerationConfig.from_published(
        {
            "temperature": 0.6,
            "top_p": 0.9,
            "top_k": 50,
            "num_beams": None,
            "length_penalty": 2.0,
            "eos_token_id": [1, 2],
            "forced_eos_token_id": [2],
            "bos_token_id": [0],
            "bad_words_ids": None,
            "suppress_tokens": [],
            "begin_suppress_tokens": None,
            "transformers_version": "5.0",
        }
    )
    assert config == GenerationConfig(
        eos_token_id=(1, 2), forced_eos_token_id=2, bos_token_id=0
    )


SAMPLING = GenerationConfig(
    do_sample=True, temperature=0.7, top_p=0.9, top_k=50, seed=3
)


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        ({"do_sample": False}, {}),
        ({"num_beams": 2}, {"num_beams": 2}),
        (
            {"penalty_alpha": 0.6, "top_k": 4},
            {"penalty_alpha": 0.6, "top_k": 4},
        ),
    ],
)
def test_what_a_folder_says_of_another_strategy_gives_way(
    call: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert SAMPLING.for_call(**call) == GenerationConfig(seed=3, **kept)


def test_what_a_call_says_does_not_give_way() -> None:
    assert SAMPLING.for_call(top_p=0.5) == SAMPLING.replace(top_p=0.5)
    with pytest.raises(ValueError, match="`temperature` needs `do_sample`"):
        SAMPLING.for_call(do_sample=False, temperature=0.5)
    drawn = SAMPLING.for_call(do_sample=True, num_beams=2)
    assert drawn == SAMPLING.replace(num_beams=2)
    with pytest.raises(ValueError, match="Did you mean `top_p`"):
        SAMPLING.for_call(top_pp=1)
    beams = GenerationConfig(num_beams=4, length_penalty=2.0)
    assert beams.for_call(do_sample=True) == GenerationConfig(do_sample=True)


def test_fields_that_are_left_out() -> None:
    values = {
        "do_sample": True,
        "num_beams": 4,
        "max_length": 64,
        "min_length": 0,
        "guidance_scale": 1.5,
        "encoder_repetition_penalty": 1.0,
        "constraints": None,
        "dola_layers": "high",
        "new_in_2030": [1],
        "renormalize_logits": False,
        "use_cache": True,
        "transformers_version": "5.23.0",
        "_from_model_config": True,
    }
    assert left_out(values) == {
        "max_length": 64,
        "guidance_scale": 1.5,
        "dola_layers": "high",
        "new_in_2030": [1],
    }
    # Files that Transformers writes say nothing of the kind.
    assert not left_out({"max_length": 20, "num_beams": 1})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"max_length": 20}, {"max_new_tokens": 19}),
        ({"max_length": 1}, {"max_new_tokens": 1}),
        ({"max_length": 20, "max_new_tokens": 5}, {"max_new_tokens": 5}),
        ({"min_length": 4, "top_k": 3}, {"min_new_tokens": 3, "top_k": 3}),
        ({"min_length": 0, "max_length": None}, {}),
    ],
)
def test_lengths_without_the_first_token(
    values: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert with_new_lengths(values) == expected


def test_a_length_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="`max_length`.*'long'"):
        with_new_lengths({"max_length": "long"})
