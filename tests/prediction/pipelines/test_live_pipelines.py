"""Results beside those of Transformers' pipelines on the same folders."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tfllm
from tests.prediction.pipelines.small_folders import TEXTS, equal

pytestmark = pytest.mark.live_parity

# Words of several pieces, upper case, an unknown word.
WORDS = "Baba KikiLolo dedesusu, xyzzy tatanana. baba"
STRATEGIES = ("none", "simple", "first", "average", "max")
EVERY_TAG: dict[str, Any] = {"ignore_labels": []}


@pytest.fixture(scope="module")
def transformers() -> Any:
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


GREEDY = {"max_new_tokens": 8, "do_sample": False}
CALLS: dict[str, tuple[str, list[tuple[Any, dict[str, Any]]]]] = {
    "classification": (
        "text-classification",
        [
            (TEXTS[0], {}),
            (TEXTS, {}),
            (TEXTS, {"top_k": 2}),
            (TEXTS, {"top_k": 1}),
            (TEXTS[0], {"top_k": 1}),
            (TEXTS[0], {"top_k": None}),
            ({"text": TEXTS[0], "text_pair": TEXTS[1]}, {}),
            ({"text": TEXTS[0], "text_pair": TEXTS[1]}, {"top_k": 1}),
            ([{"text": TEXTS[0], "text_pair": TEXTS[1]}], {"top_k": 1}),
            ([TEXTS[0], {"text": TEXTS[0], "text_pair": TEXTS[1]}], {}),
            (TEXTS, {"function_to_apply": "none", "top_k": None}),
            (TEXTS, {"function_to_apply": "sigmoid", "top_k": 2}),
            (TEXTS[0], {"function_to_apply": "softmax"}),
            (" ".join(TEXTS * 5), {"truncation": True, "max_length": 32}),
            (
                " ".join(TEXTS * 5),
                {"truncation": True, "max_length": 9, "top_k": None},
            ),
        ],
    ),
    "multi_label": ("text-classification", [(TEXTS, {"top_k": None})]),
    "regression": ("text-classification", [(TEXTS, {})]),
    "tagging": (
        "token-classification",
        [
            (TEXTS[0], {}),
            (TEXTS, {}),
            *(
                (inputs, {"aggregation_strategy": strategy, **options})
                for inputs in (WORDS, [WORDS, *TEXTS])
                for strategy in STRATEGIES
                for options in ({}, EVERY_TAG)
            ),
            (
                TEXTS[1].split(),
                {"is_split_into_words": True, **EVERY_TAG},
            ),
            (
                [WORDS.split(), TEXTS[1].split()],
                {
                    "is_split_into_words": True,
                    "aggregation_strategy": "average",
                    **EVERY_TAG,
                },
            ),
        ],
    ),
    "gpt2_tagging": (
        "token-classification",
        [
            (TEXTS, EVERY_TAG),
            (TEXTS, {"aggregation_strategy": "simple", **EVERY_TAG}),
        ],
    ),
    "masked_lm": (
        "fill-mask",
        [
            ("[MASK] kiki.", {}),
            (["[MASK] ba"], {}),
            ("[MASK] kiki.", {"targets": ["lolo", "baba"]}),
            ("[MASK] kiki.", {"targets": "baba"}),
            ("[MASK] kiki.", {"top_k": 2}),
        ],
    ),
    "causal_lm": (
        "text-generation",
        [
            (TEXTS[0], GREEDY),
            (TEXTS, GREEDY),
            (TEXTS[0], {**GREEDY, "return_full_text": False}),
            (TEXTS[0], {**GREEDY, "num_beams": 3, "num_return_sequences": 2}),
        ],
    ),
}
FEATURES = ("classification", "embedding", "tagging", "causal_lm")


@pytest.mark.parametrize("folder", sorted(CALLS))
def test_the_same_there(
    transformers: Any, folders: pathlib.Path, folder: str
) -> None:
    name, calls = CALLS[folder]
    ours = tfllm.pipeline(name, model=str(folders / folder))
    theirs = transformers.pipeline(name, model=str(folders / folder))
    for inputs, options in calls:
        equal(ours(inputs, **options), theirs(inputs, **options))


# Options of the pipeline, and of its calls.
DEFAULTS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "classification": (
        "text-classification",
        {"top_k": 2},
        [{}, {"top_k": 1}, {"top_k": None}],
    ),
    "tagging": (
        "token-classification",
        {"aggregation_strategy": "simple"},
        [{}, {"aggregation_strategy": "none"}],
    ),
    "causal_lm": (
        "text-generation",
        GREEDY,
        [{}, {"return_full_text": False}],
    ),
}


@pytest.mark.parametrize("folder", sorted(DEFAULTS))
def test_the_same_defaults_there(
    transformers: Any, folders: pathlib.Path, folder: str
) -> None:
    name, defaults, calls = DEFAULTS[folder]
    model = str(folders / folder)
    ours = tfllm.pipeline(name, model=model, **defaults)
    theirs = transformers.pipeline(name, model=model, **defaults)
    for inputs in (TEXTS[0], TEXTS):
        for options in calls:
            equal(ours(inputs, **options), theirs(inputs, **options))


@pytest.mark.parametrize("folder", FEATURES)
def test_the_same_vectors_there(
    transformers: Any, folders: pathlib.Path, folder: str
) -> None:
    name = "feature-extraction"
    ours = tfllm.pipeline(name, model=str(folders / folder))
    theirs = transformers.pipeline(name, model=str(folders / folder))
    for inputs in (TEXTS[0], TEXTS):
        equal(ours(inputs), theirs(inputs))


def test_the_same_tensors_there(
    transformers: Any, folders: pathlib.Path
) -> None:
    model = str(folders / "embedding")
    ours = tfllm.pipeline("feature-extraction", model=model)
    theirs = transformers.pipeline("feature-extraction", model=model)
    found = ours(TEXTS[0], return_tensors=True)
    expected = theirs(TEXTS[0], return_tensors=True).detach().numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def texts() -> Iterator[str]:
    yield from TEXTS


def test_the_same_of_streams_there(
    transformers: Any, folders: pathlib.Path
) -> None:
    from transformers.pipelines.pt_utils import KeyDataset

    model = str(folders / "classification")
    ours = tfllm.pipeline("sentiment-analysis", model=model)
    theirs = transformers.pipeline("sentiment-analysis", model=model)
    column = KeyDataset([{"text": text} for text in TEXTS], "text")
    for make in (texts, lambda: column):
        for options in ({}, {"top_k": 2}, {"batch_size": 2}):
            found, expected = ours(make(), **options), theirs(make(), **options)
            assert not isinstance(found, list)
            assert not isinstance(expected, list)
            equal(list(found), list(expected))


def test_the_same_of_several_words_in_gpt2_there(
    transformers: Any, folders: pathlib.Path
) -> None:
    model = str(folders / "gpt2_tagging")
    options: dict[str, Any] = {"model": model, **EVERY_TAG}
    ours = tfllm.pipeline("ner", **options)
    theirs = transformers.pipeline("ner", **options)
    text = "Baba kiki lolo. susu"
    for strategy in ("first", "average", "max"):
        with pytest.warns(UserWarning, match="fallback heuristic"):
            expected = theirs(text, aggregation_strategy=strategy)
        for one in expected:
            # NOTE: theirs reads the text of a word as bytes once more.
            assert one.pop("word")
        found = ours(text, aggregation_strategy=strategy)
        for one in found:
            assert text[one["start"] : one["end"]] == one.pop("word")
        equal(found, expected)
