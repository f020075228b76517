"""Exports of tasks of labelled data, against what `tfllm.predict` says.

The export itself compares the two on the texts of the gate; here are others,
and what only requests show.
"""

import dataclasses
import json
import pathlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import small_models
from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.evaluation.results import results
from tfllm.interop import model_folder
from tfllm.serving import export as exports
from tfllm.serving.c_loader import SavedModel
from tfllm.serving.export import ExportConfig, ExportReport, export
from tfllm.serving.python_answers import answers
from tfllm.serving.served_task import ExportSettings
from tfllm.tokenizers import load_tokenizer

LENGTH, STRIDE = 24, 8
Make = Callable[..., SavedModel]


def texts(count: int) -> list[str]:
    rng = random.Random(0)
    known = [*small_models.WORDS, "xq", "Dog,", "\u00e9t\u00e9", "🙂", "\n"]
    return [" ".join(rng.choices(known, k=i * 2)) for i in range(count)]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    base = tmp_path_factory.mktemp("labelled")
    made: dict[str, ExportReport] = {}

    def run(folder: str, pairs: bool = False) -> SavedModel:
        name = f"{pathlib.Path(folder).name}_{pairs}"
        if name not in made:
            kind = model_folder.load(folder).kind
            # What does not fit beside a choice is cut.
            stride = 0 if kind == "multiple_choice" else STRIDE
            settings = ExportSettings(LENGTH, stride, pairs=pairs)
            made[name] = export(
                ExportConfig(folder, str(base / name), settings=settings)
            )
        return SavedModel(made[name].folder, disable_xla=False)

    return run


def expected(
    folder: str, groups: list[tuple[str, ...]]
) -> list[dict[str, Any]]:
    """What tfllm.predict writes."""
    encoded = [tuple(text.encode() for text in group) for group in groups]
    task, tokenizer = model_folder.load(folder), load_tokenizer(folder)
    return results(answers(task, tokenizer, encoded, LENGTH, STRIDE))


def example(**features: str) -> bytes:
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[text.encode()])
                )
                for name, text in features.items()
            }
        )
    ).SerializeToString()


def test_classification_of_pairs(make: Make) -> None:
    folder = small_models.labelled("classification")
    first, second = texts(12), texts(12)[::-1]
    found = expected(folder, list(zip(first, second, strict=True)))
    with make(folder, pairs=True) as model:
        answer = model.run(
            "serving_default", {"text": first, "text_pair": second}
        )
        classified = model.run(
            "classify",
            {
                "inputs": [
                    example(text=one, text_pair=other)
                    for one, other in zip(first, second, strict=True)
                ]
            },
        )
        signature = model.signatures["serving_default"]
        assert sorted(signature.inputs) == ["text", "text_pair"]
    for row, one in enumerate(found):
        assert answer["label"][row].decode() == one["label"]
        assert small_models.LABELS[answer["label_id"][row]] == one["label"]
        assert answer["score"][row] == pytest.approx(one["score"], abs=1e-5)
        by_name = [one["scores"][name] for name in small_models.LABELS]
        np.testing.assert_allclose(answer["scores"][row], by_name, atol=1e-5)
    np.testing.assert_allclose(
        answer["scores"].sum(axis=1), np.ones(12), atol=1e-5
    )
    # As the Classify method has it: string and float32 [B, C].
    names = [[name.encode() for name in small_models.LABELS]] * 12
    assert classified["classes"].tolist() == names
    np.testing.assert_allclose(
        classified["scores"], answer["scores"], atol=1e-5
    )


def test_regression_of_a_decoder(make: Make) -> None:
    folder = small_models.labelled("regression", "gpt2")
    found = expected(folder, [(text,) for text in texts(12)])
    with make(folder) as model:
        answer = model.run("serving_default", {"text": texts(12)})["value"]
        examples = [example(text=text) for text in texts(12)]
        regressed = model.run("regress", {"inputs": [*examples, b""]})
        empty = model.run("serving_default", {"text": [""]})["value"]
    np.testing.assert_allclose(answer, [o["value"] for o in found], atol=1e-5)
    np.testing.assert_allclose(regressed["outputs"][:-1], answer, atol=1e-5)
    # An example without a text.
    np.testing.assert_allclose(regressed["outputs"][-1], empty[0], atol=1e-5)


def test_several_labels(make: Make) -> None:
    folder = small_models.labelled("multi_label")
    found = expected(folder, [(text,) for text in texts(12)])
    with make(folder) as model:
        answer = model.run("serving_default", {"text": texts(12)})
    for row, one in enumerate(found):
        count = answer["num_labels"][row]
        names = [name.decode() for name in answer["labels"][row]]
        assert names[:count] == one["labels"]
        assert not any(names[count:])
    assert len(set(answer["num_labels"].tolist())) > 1


def test_embeddings(make: Make) -> None:
    folder = small_models.labelled("embedding")
    found = expected(folder, [(text,) for text in texts(12)])
    with make(folder) as model:
        answer = model.run("serving_default", {"text": texts(12)})["embedding"]
    np.testing.assert_allclose(
        answer, [one["embedding"] for one in found], atol=1e-5
    )


def test_tagging(make: Make) -> None:
    folder = small_models.labelled("tagging")
    found = expected(folder, [(text,) for text in texts(20)])
    with make(folder) as model:
        answer = model.run("serving_default", {"text": texts(20)})
    entities = 0
    for row, (text, one) in enumerate(zip(texts(20), found, strict=True)):
        count = answer["num_words"][row]
        assert count == len(word_spans(text)) == len(one["words"])
        for place, word in enumerate(one["words"]):
            start, end = (
                answer["starts"][row, place],
                answer["ends"][row, place],
            )
            assert text[start:end] == word["word"]
            assert answer["words"][row, place].decode() == word["word"]
            assert answer["labels"][row, place].decode() == word["label"]
            score = answer["scores"][row, place]
            assert score == pytest.approx(word["score"], abs=1e-5)
        assert not any(answer["words"][row, count:])
        assert answer["num_entities"][row] == len(one["entities"])
        for place, entity in enumerate(one["entities"]):
            kind = answer["entity_labels"][row, place].decode()
            assert kind == entity["entity_group"]
            assert answer["entities"][row, place].decode() == entity["word"]
            assert answer["entity_starts"][row, place] == entity["start"]
            assert answer["entity_ends"][row, place] == entity["end"]
        entities += len(one["entities"])
    assert entities > 20


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_question_answering(make: Make, family: str) -> None:
    folder = small_models.labelled(
        "question_answering", family, null_threshold=0.0
    )
    contexts, questions = texts(16), ["it was?", " 自 ", "", "was dog " * 9] * 4
    found = expected(folder, list(zip(questions, contexts, strict=True)))
    with make(folder) as model:
        answer = model.run(
            "serving_default", {"question": questions, "context": contexts}
        )
    for row, one in enumerate(found):
        start, end = answer["start"][row], answer["end"][row]
        assert answer["answer"][row].decode() == contexts[row][start:end]
        assert answer["answer"][row].decode() == one["answer"]
        assert (start, end) == (one["start"], one["end"])
        assert answer["score"][row] == pytest.approx(one["score"], abs=1e-5)
        gap = one.get("null_difference", 0.0)
        assert answer["null_difference"][row] == pytest.approx(gap, abs=1e-4)
    assert np.isfinite(answer["null_difference"]).all()
    lengths = {len(text) for text in answer["answer"]}
    # With an answer, and without.
    assert 0 in lengths
    assert len(lengths) > 2


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_multiple_choice(make: Make, family: str) -> None:
    folder = small_models.labelled("multiple_choice", family)
    before, others = texts(12), texts(36)[::-1]
    choices = [[f"x {t}" for t in others[i::12]] for i in range(12)]
    found = expected(
        folder, [(t, *c) for t, c in zip(before, choices, strict=True)]
    )
    with make(folder) as model:
        answer = model.run(
            "serving_default", {"text": before, "choices": choices}
        )
        padded = model.run(
            "serving_default",
            {"text": before, "choices": [["", *row, " "] for row in choices]},
        )
    for row, one in enumerate(found):
        assert answer["choice"][row] == one["choice"]
        assert answer["choice_text"][row].decode() == one["choice_text"]
        assert answer["score"][row] == pytest.approx(one["score"], abs=1e-5)
        np.testing.assert_allclose(
            answer["scores"][row], one["scores"], atol=1e-5
        )
    assert len(set(answer["choice"].tolist())) == 3
    # A choice that is blank is none.
    np.testing.assert_array_equal(padded["choice"], answer["choice"] + 1)
    np.testing.assert_array_equal(padded["choice_text"], answer["choice_text"])
    assert not padded["scores"][:, [0, 4]].any()
    np.testing.assert_allclose(
        padded["scores"][:, 1:4], answer["scores"], atol=1e-5
    )


def test_choices_behind_a_second_text(make: Make) -> None:
    folder = small_models.labelled("multiple_choice")
    choices = [["best of times", "dog", "自然"]] * 3
    before, second = ["it was", "x", "the dog"], ["the", "it", "best"]
    found = expected(
        folder,
        [
            (one, *(f"{other} {choice}" for choice in choices[0]))
            for one, other in zip(before, second, strict=True)
        ],
    )
    with make(folder, pairs=True) as model:
        answer = model.run(
            "serving_default",
            {"text": before, "text_pair": second, "choices": choices},
        )
    for row, one in enumerate(found):
        assert answer["choice"][row] == one["choice"]
        text = answer["choice_text"][row].decode()
        assert f"{second[row]} {text}" == one["choice_text"]


def test_rows_are_as_in_the_run(tmp_path: pathlib.Path) -> None:
    folder = pathlib.Path(small_models.labelled("classification"))
    assert exports.load(str(folder))[2] == {}
    run = {"seq_length": 20, "stride": None, "text_pair_column": "other"}
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "run.json").write_text(json.dumps(run))
    task, tokenizer, found = exports.load(str(copy))
    served = exports.signatures.serve(task, tokenizer, ExportSettings(), found)
    assert sorted(served.functions["serving_default"].inputs) == [
        "text",
        "text_pair",
    ]
    settings = exports.signatures.as_in_run(task, ExportSettings(), found)
    assert (settings.seq_length, settings.stride) == (20, 10)
    # What is asked for wins; without a run it is what predict would do.
    asked = dataclasses.replace(settings, seq_length=12, stride=4)
    assert exports.signatures.as_in_run(task, asked, found) == asked
    chooser = model_folder.load(small_models.labelled("multiple_choice"))
    with pytest.raises(ValueError, match="multiple_choice. Received: 4"):
        exports.signatures.as_in_run(chooser, asked, found)
    alone = exports.signatures.as_in_run(task, ExportSettings(), {})
    assert (alone.seq_length, alone.stride) == (32, 16)
