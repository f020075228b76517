"""Every kind of generation, for the families that write."""

from typing import Any

import keras
import pytest

from tests.generation.test_generate import (
    PROMPTS,
    STRATEGIES,
    VOCAB,
    flat,
    greedy,
)
from tfllm.generation import GenerationConfig
from tfllm.generation.generate import generate
from tfllm.models import FAMILIES, LanguageModel
from tools.family_arguments import off_default

# GPT-2 is in test_generate.py; those that read a source with an encoder are in
# tests/models/test_encoder_decoder.py.
WRITERS = [
    name
    for name, family in FAMILIES.items()
    if family.config().kind == "decoder" and name != "gpt2"
]


def build(family: str, seed: int = 0, **changes: Any) -> LanguageModel:
    """A model with grouped queries, biases and whatever its family has."""
    keras.utils.set_random_seed(seed)
    arguments = off_default(
        FAMILIES[family],
        vocab_size=VOCAB,
        max_position_embeddings=96,
        initializer_range=0.4,
        **changes,
    )
    model = LanguageModel(FAMILIES[family].config(**arguments))
    model.build()
    return model


@pytest.fixture(name="model", scope="module", params=WRITERS)
def _model(request: Any) -> LanguageModel:
    return build(request.param)


def test_greedy_equals_a_loop_without_cache(model: LanguageModel) -> None:
    config = GenerationConfig(max_new_tokens=6)
    output = generate(model, PROMPTS, config)
    assert flat(output) == [greedy(model, p, 6) for p in PROMPTS]


@pytest.mark.wide
@pytest.mark.parametrize("name", STRATEGIES)
def test_compiled_equals_eager_and_rows_stand_alone(
    name: str, model: LanguageModel
) -> None:
    config = GenerationConfig(
        max_new_tokens=6, eos_token_id=1, **STRATEGIES[name]
    )
    output = generate(model, PROMPTS, config)
    eager = generate(model, PROMPTS, config, compiled=False)
    assert eager.sequences == output.sequences
    alone = generate(model, PROMPTS[:1], config)
    assert alone.sequences[0] == output.sequences[0]


@pytest.mark.wide
def test_speculative_greedy_equals_greedy(model: LanguageModel) -> None:
    draft = build(model.config.family, seed=1, num_layers=1)
    config = GenerationConfig(max_new_tokens=9, eos_token_id=1)
    expected = generate(model, PROMPTS, config)
    for helper in (draft, model):
        output = generate(model, PROMPTS, config, draft=helper)
        assert output.sequences == expected.sequences
        assert output.acceptance_rate is not None
        if helper is model:
            assert output.acceptance_rate == 1.0


@pytest.mark.wide
def test_a_stream_gives_the_same_tokens(model: LanguageModel) -> None:
    config = GenerationConfig(max_new_tokens=6, eos_token_id=1)
    streamed: list[list[int]] = [[] for _ in PROMPTS]

    def stream(row: int, ids: list[int]) -> None:
        streamed[row] += ids

    output = generate(model, PROMPTS, config, stream=stream)
    assert streamed == flat(output)
