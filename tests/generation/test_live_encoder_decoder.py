"""Options of generation_config.json beside Transformers, of two stacks."""

import json
import pathlib
from typing import Any

import pytest

from tfllm.generation import GenerationConfig
from tfllm.generation.config import with_new_lengths
from tfllm.generation.generate import generate
from tfllm.models import FAMILIES
from tools import parity_cases, parity_compare

pytestmark = pytest.mark.live_parity

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

BEAMS = {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0}
# `max_length` and `min_length` count the first token of the decoder.
OPTIONS: dict[str, dict[str, Any]] = {
    "lengths": {"max_length": 9, "min_length": 6},
    "lengths of beams": {**BEAMS, "max_length": 9, "min_length": 6},
    "forced": {
        **BEAMS,
        "max_length": 8,
        "forced_bos_token_id": 7,
        "forced_eos_token_id": 2,
    },
    "n-grams": {**BEAMS, "max_length": 12, "no_repeat_ngram_size": 2},
    "bad words": {"max_length": 9, "bad_words_ids": [[0], [3], [4, 5]]},
    "repetition": {"max_length": 12, "repetition_penalty": 1.7},
    "first token": {"max_length": 9, "decoder_start_token_id": 6},
}
FAMILY_OPTIONS = [
    pytest.param(name, option, marks=[pytest.mark.wide] * (name != "t5"))
    for name, family in FAMILIES.items()
    if family.config().kind == "encoder_decoder"
    for option in OPTIONS
]


@pytest.fixture(name="pair", scope="module")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns a function: family -> our model and a folder of it."""
    made: dict[str, tuple[Any, pathlib.Path]] = {}

    def create(family: str) -> tuple[Any, pathlib.Path]:
        if family not in made:
            arguments = parity_cases.configs(family)["default"]
            model = parity_cases.create_writer(family, arguments)
            folder = tmp_path_factory.mktemp(family)
            parity_compare.to_transformers(model, folder)
            made[family] = model, folder
        return made[family]

    return create


@pytest.mark.parametrize(("family", "option"), FAMILY_OPTIONS)
def test_tokens_equal(family: str, option: str, pair: Any) -> None:
    import transformers

    model, folder = pair(family)
    special = {
        "eos_token_id": 2,
        "pad_token_id": 0,
        "decoder_start_token_id": model.config.decoder_start_token_id,
    }
    values = {**special, **OPTIONS[option]}
    (folder / "generation_config.json").write_text(json.dumps(values))
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    prompts = parity_cases.prompts(model.config)[:6]
    settings = GenerationConfig.from_published(with_new_lengths(values))
    ours = generate(model, prompts, settings, reads_sources=True).sequences
    for prompt, (row, *_) in zip(prompts, ours, strict=True):
        reference = theirs.generate(torch.tensor([prompt]))[0].tolist()
        assert reference[0] == values["decoder_start_token_id"]
        reference = reference[1:]
        if 2 in reference:
            reference = reference[: reference.index(2) + 1]
        assert row == reference
