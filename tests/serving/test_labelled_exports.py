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
from tfllm import tasks
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.records.questions import question_record
from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.prediction import jobs
from tfllm.prediction.forward import predict
from tfllm.prediction.pipelines import base
from tfllm.prediction.python_answers import answers
from tfllm.prediction.results import results
from tfllm.runtime.c_loader import SavedModel
from tfllm.serving import export as exports
from tfllm.serving.export import ExportReport, export
from tfllm.serving.export_config import ExportConfig, ExportSettings
from tfllm.tokenizers import load_tokenizer

LENGTH, STRIDE = 24, 8
READERS = ["bert", pytest.param("gpt2", marks=pytest.mark.wide)]
Make = Callable[..., SavedModel]


def texts(count: int) -> list[str]:
    rng = random.Random(0)
    known = [*small_models.WORDS, "xq", "Dog,", "\u00e9t\u00e9", "🙂", "\n"]
    return [" ".join(rng.choices(known, k=i * 2)) for i in range(count)]


def stride_of(kind: str) -> int:
    """What does not fit beside a choice is cut."""
    return 0 if kind == "multiple_choice" else STRIDE


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    base = tmp_path_factory.mktemp("labelled")
    made: dict[str, ExportReport] = {}

    def run(folder: str, pairs: bool = False) -> SavedModel:
        name = f"{pathlib.Path(folder).name}_{pairs}"
        if name not in made:
            kind = model_folder.load(folder).kind
            settings = ExportSettings(LENGTH, stride_of(kind), pairs=pairs)
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
    stride = stride_of(task.kind)
    return results(answers(task, tokenizer, encoded, LENGTH, stride))


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


@pytest.mark.wide
def test_a_number_behind_a_sigmoid(make: Make) -> None:
    folder = small_models.labelled("regression", activation="sigmoid")
    found = expected(folder, [(text,) for text in texts(12)])
    with make(folder) as model:
        answer = model.run("serving_default", {"text": texts(12)})["value"]
    np.testing.assert_allclose(answer, [o["value"] for o in found], atol=1e-5)
    assert {one["activation"] for one in found} == {"sigmoid"}
    assert 0.0 < answer.min() < answer.max() < 1.0


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


@pytest.mark.wide
def test_embeddings(make: Make) -> None:
    folder = small_models.labelled("embedding")
    found = expected(folder, [(text,) for text in texts(12)])
    with make(folder) as model:
        answer = model.run("serving_default", {"text": texts(12)})["embedding"]
    np.testing.assert_allclose(
        answer, [one["embedding"] for one in found], atol=1e-5
    )


def test_embeddings_behind_a_prompt_and_a_projection(make: Make) -> None:
    folder = small_models.projecting()
    found = expected(folder, [(text,) for text in texts(12)])
    with make(folder) as model:
        answer = model.run("serving_default", {"text": texts(12)})["embedding"]
    assert answer.shape == (12, 5)
    np.testing.assert_allclose(
        answer, [one["embedding"] for one in found], atol=1e-5
    )
    plain = model_folder.load(folder)
    tokenizer = load_tokenizer(folder)
    (ids,) = tokenizer.tokenize(tf.constant([f"dog {texts(12)[3]}"])).to_list()
    row = tf.constant([[tokenizer.special.cls, *ids, tokenizer.special.sep]])
    vector = plain({"token_ids": row})["embedding"][0]
    np.testing.assert_allclose(answer[3], vector, atol=1e-5)


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


@pytest.mark.parametrize("family", READERS)
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


@pytest.mark.parametrize("family", READERS)
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


@pytest.mark.wide
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


# Kind of task -> longest row and stride of a model of 600 positions.
USUAL = {
    "classification": (600, 300),
    "multi_label": (600, 300),
    "regression": (600, 300),
    "tagging": (600, 300),
    "question_answering": (384, 128),
    "embedding": (600, None),
    "multiple_choice": (600, None),
}


@pytest.mark.parametrize("kind", list(USUAL))
def test_a_folder_without_a_run_is_read_in_one_way(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    tokenizer = small_models.wordpiece()
    config = FAMILIES["bert"].config(
        num_layers=1,
        hidden_size=8,
        num_heads=1,
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=600,
    )
    named = {"multi_label": small_models.LABELS}
    named |= {"classification": small_models.LABELS}
    named |= {"tagging": small_models.TAGS}
    settings = {"labels": named[kind]} if kind in named else {}
    task = tasks.create(kind, config, **settings)
    model_folder.save(task, tmp_path, tokenizer)
    read = []

    def opened(records: Any, tokenizer: Any, config: Any) -> LabelledData:
        read.append(config)
        return LabelledData(records, tokenizer, config)

    monkeypatch.setattr(base, "LabelledData", opened)
    pipe = base.LabelledPipeline(task, tokenizer)
    texts = ("x",) * (1 if kind in ("tagging", "embedding") else 2)
    list(pipe.predict([Record("0", "here", texts, words=((0, 1),))]))
    read.append(jobs.labelled_config(task, {}, {}, as_lines=True))
    assert [(one.seq_length, one.stride) for one in read] == [USUAL[kind]] * 2
    served = exports.signatures.as_in_run(task, ExportSettings(), {})
    assert (served.seq_length, served.stride or None) == USUAL[kind]
    with pytest.raises(ValueError, match="at most 600.*Received: 601"):
        jobs.labelled_config(task, {"seq_length": 601}, {}, False)


def test_long_texts_to_embed_are_cut() -> None:
    folder = small_models.labelled("embedding")
    task, tokenizer, run = exports.load(folder)
    served = exports.signatures.serve(task, tokenizer, ExportSettings(), run)
    long = [" ".join(texts(30)), "it was"]
    records = [Record(text[:3], "here", (text,)) for text in long]
    data = LabelledData(
        records, tokenizer, jobs.labelled_config(task, run, {}, True)
    )
    np.testing.assert_allclose(
        served.functions["serving_default"].call(text=tf.constant(long))[
            "embedding"
        ],
        [one["embedding"] for one in results(predict(task, data))],
        atol=1e-5,
    )


def test_questions_are_as_long_as_in_the_run() -> None:
    folder = small_models.labelled("question_answering")
    task, tokenizer, _ = exports.load(folder)
    question, contexts = "was dog " * 9, texts(12)
    found = []
    for limit in (2, 20):
        run = {"question_length": limit}
        served = exports.signatures.serve(
            task, tokenizer, ExportSettings(), run
        )
        answer = served.functions["serving_default"].call(
            question=tf.constant([question] * 12), context=tf.constant(contexts)
        )
        config = jobs.labelled_config(task, run, {}, True)
        records = [question_record(question, text) for text in contexts]
        data = LabelledData(records, tokenizer, config)
        expected = [one["score"] for one in results(predict(task, data))]
        np.testing.assert_allclose(answer["score"], expected, atol=1e-5)
        found.append(expected)
    assert not np.allclose(*found)
