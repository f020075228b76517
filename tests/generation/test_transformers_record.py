"""Generation against what Transformers generated.

tests/testdata/generation_gpt2.safetensors comes from
tools/record_generation.py.
"""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tensorflow as tf

from tfllm.generation import GenerationConfig, samplers
from tfllm.generation.generate import generate
from tfllm.interop import model_folder
from tfllm.models import LanguageModel

FILE = (
    pathlib.Path(__file__).parents[1]
    / "testdata"
    / "generation_gpt2.safetensors"
)
with safetensors.safe_open(FILE, "numpy") as _tensors:
    RECORD = {k: json.loads(v) for k, v in _tensors.metadata().items()}
    TENSORS = {k: _tensors.get_tensor(k) for k in _tensors.keys()}  # noqa: SIM118


@pytest.fixture(name="model", scope="module")
def _model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "config.json").write_text(json.dumps(RECORD["config"]))
    weights = {
        name.removeprefix("weights/"): value
        for name, value in TENSORS.items()
        if name.startswith("weights/")
    }
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    _, config = model_folder.read_config(folder)
    model = LanguageModel(config)
    model.build()
    assert not model_folder.load_weights(model, folder)
    return model


def config_of(options: dict[str, Any]) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=RECORD["new_tokens"],
        eos_token_id=RECORD["config"]["eos_token_id"],
        **options,
    )


def without_padding(ids: list[int], end: int) -> list[int]:
    """What comes up to the end of text; Transformers fills up behind it."""
    return ids[: ids.index(end) + 1] if end in ids else ids


# Two beams end as four do; each case compiles a loop of its own.
CASES = [
    pytest.param(
        case,
        marks=[pytest.mark.wide] * (case["options"].get("num_beams") == 2),
        id=json.dumps(case["options"]),
    )
    for case in RECORD["cases"]
]


@pytest.mark.parametrize("case", CASES)
def test_ids_equal(case: dict[str, Any], model: LanguageModel) -> None:
    """All prompts in one padded batch; each was alone there."""
    config = config_of(case["options"])
    output = generate(model, RECORD["prompts"], config)
    end = config.eos_token_id[0]
    for ours, theirs in zip(output.sequences, case["sequences"], strict=True):
        assert ours == [without_padding(ids, end) for ids in theirs]


def test_cases_end_in_both_ways() -> None:
    """Else the rules of finished sequences would not be tested."""
    end = RECORD["config"]["eos_token_id"]
    for beams in (False, True):
        ends = {
            end in ids
            for case in RECORD["cases"]
            if ("num_beams" in case["options"]) == beams
            for rows in case["sequences"]
            for ids in rows
        }
        assert ends == {True, False}


@pytest.mark.parametrize("case", RECORD["filters"], ids=lambda c: c["name"])
def test_filters_keep_the_same(case: dict[str, Any]) -> None:
    (value,) = case["options"].values()
    function = {
        "TopKLogitsWarper": samplers.top_k,
        "TopPLogitsWarper": samplers.top_p,
        "MinPLogitsWarper": samplers.min_p,
        "TypicalLogitsWarper": samplers.typical,
    }[case["name"]]
    for call in (function, tf.function(function)):
        kept = call(tf.constant(TENSORS["scores"]), value).numpy() > -np.inf
        np.testing.assert_array_equal(kept, np.array(case["kept"], bool))
