"""Pipelines of each kind: what they give."""

import json
import pathlib
import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tests import verbs
from tests.prediction.pipelines.small_folders import LABELS, TEXTS, equal
from tfllm import tasks
from tfllm.interop import model_folder
from tfllm.prediction import jobs
from tfllm.runs.run_config import RunConfig
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.signatures.signatures import as_in_run
from tfllm.tasks import Tagging
from tfllm.tokenizers import ByteBPETokenizer, WordPieceTokenizer

CONTEXT = "baba dede kiki lolo mumu nana popo riri susu tata baba kiki."


def test_text_classification(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(
        "text-classification", model=str(folders / "classification")
    )
    (best,) = pipe(TEXTS[0])
    assert set(best) == {"label", "score"}
    both = pipe(TEXTS)
    equal(both[0], best)
    everything = pipe(TEXTS, top_k=None)
    for one, scores in zip(both, everything, strict=True):
        assert scores[0] == one
        assert {score["label"] for score in scores} == set(LABELS)
        assert sum(score["score"] for score in scores) == pytest.approx(1.0)
    assert [len(scores) for scores in pipe(TEXTS, top_k=2)] == [2, 2]
    assert len(pipe(TEXTS[0], top_k=2)) == 2
    # A number that is given makes lists, also of one.
    equal(pipe(TEXTS, top_k=1), [[one] for one in both])
    equal(pipe(TEXTS[0], top_k=1), [best])
    pair = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    equal(pipe([pair])[0], pipe(pair))
    assert pipe(pair)["score"] != pytest.approx(best["score"], rel=1e-3)


def test_other_labels(folders: pathlib.Path) -> None:
    several = tfllm.pipeline(
        "text-classification", model=str(folders / "multi_label")
    )
    scores = several(TEXTS[0], top_k=None)
    # Each by itself: they need not sum to one.
    assert sum(one["score"] for one in scores) != pytest.approx(1.0, abs=1e-3)
    number = tfllm.pipeline(
        "text-classification", model=str(folders / "regression")
    )
    task = model_folder.load(folders / "regression")
    tokenizer = WordPieceTokenizer.from_file(str(folders / "vocab.txt"))
    ids = tokenizer.tokenize(tf.constant(TEXTS[:1])).to_list()[0]
    row = np.array(
        [[tokenizer.special.cls, *ids, tokenizer.special.sep]], "int32"
    )
    value = float(task({"token_ids": row}, training=False)["regression"][0])
    assert number(TEXTS[0]) == [
        {"label": "LABEL_0", "score": pytest.approx(value, abs=1e-5)}
    ]


def test_token_classification(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(
        "token-classification", model=str(folders / "tagging")
    )
    words = pipe(TEXTS, ignore_labels=[])
    assert [[w["word"] for w in found] for found in words] == [
        ["baba", "kiki", "lolo", ",", "dede", "."],
        ["susu", "tata"],
    ]
    assert [w["index"] for w in words[0]] == [1, 2, 3, 4, 5, 6]
    for text, found in zip(TEXTS, words, strict=True):
        for word in found:
            assert set(word) == {
                "entity",
                "score",
                "index",
                "word",
                "start",
                "end",
            }
            assert text[word["start"] : word["end"]] == word["word"]
    tagged = [w for w in words[0] if w["entity"] != "O"]
    alone = pipe(TEXTS[0])
    assert [w["index"] for w in alone] == [w["index"] for w in tagged]
    for text in TEXTS:
        groups = pipe(text, aggregation_strategy="simple")
        for group in groups:
            assert set(group) == {
                "entity_group",
                "score",
                "word",
                "start",
                "end",
            }
            assert group["entity_group"] == "X"
            assert text[group["start"] : group["end"]] == group["word"]
    with pytest.raises(ValueError, match="Received: 'median'"):
        pipe(TEXTS, aggregation_strategy="median")


@pytest.fixture(scope="module")
def roles(
    folders: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The folder of a tagger whose tags are about a predicate."""
    folder = tmp_path_factory.mktemp("roles")
    config = model_folder.load(folders / "tagging").config
    keras.utils.set_random_seed(6)
    task = tasks.create(
        "tagging", config, labels=("O", "B-X", "I-X"), with_predicates=True
    )
    tokenizer = WordPieceTokenizer.from_file(str(folders / "vocab.txt"))
    model_folder.save(task, folder, tokenizer)
    return str(folder)


def tags_about(task: Any, text: str, predicate: int) -> tuple[list, list]:
    """Tags and scores of words of one token, by rows made here."""
    words = verbs.vocabulary()
    ids = [words.index(word) for word in text.split()]
    row = [2, ids[predicate], 3, *ids, 3]
    segments = [0] * len(row)
    segments[3 + predicate] = 1
    logits = task(
        {
            "token_ids": np.array([row], "int32"),
            "segment_ids": np.array([segments], "int32"),
        },
        training=False,
    )["tagging"].numpy()[0, 3:-1]
    powers = np.exp(logits)
    names = [task.labels[i] for i in logits.argmax(axis=1)]
    return names, (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)


def test_roles(roles: str, tmp_path: pathlib.Path) -> None:
    text = "baba kiki lolo"
    pipe = tfllm.pipeline("token-classification", model=roles)
    inputs = [{"text": text, "predicate": i} for i in (0, 2)]
    found = pipe(inputs, ignore_labels=[])
    for one, words in zip(inputs, found, strict=True):
        names, scores = tags_about(pipe.task, **one)
        assert [word["entity"] for word in words] == names
        np.testing.assert_allclose(
            [word["score"] for word in words], scores, atol=1e-5
        )
    assert found[0] != found[1]
    equal(pipe(inputs[0], ignore_labels=[]), found[0])
    for bad in (text, {"text": text}, {"text": text, "predicate": 3}):
        with pytest.raises(ValueError, match="`predicate`, the number of"):
            pipe(bad)
    # As the verb reads lines of standard input.
    lines = "".join(json.dumps(one) + "\n" for one in inputs)
    (tmp_path / "lines").write_text(lines)
    run = {"text_column": "0", "predicate_column": "1"}
    config = jobs.labelled_config(pipe.task, run, {}, as_lines=True)
    job = jobs.labelled_job(
        pipe.task, roles, str(tmp_path / "lines"), config, 1
    )
    for one, words, result in zip(
        inputs, found, job.predict(list(job.items)), strict=True
    ):
        assert {name: result[name] for name in one} == one
        labels = [word["label"] for word in result["words"]]
        assert labels == [word["entity"] for word in words]


def test_where_predicates_are_refused(
    folders: pathlib.Path, roles: str
) -> None:
    task = model_folder.load(roles)
    with pytest.raises(ValueError, match="`predicate_column` is needed"):
        jobs.labelled_config(task, {}, {}, as_lines=False)
    with pytest.raises(ValueError, match="trained with predicates, which"):
        as_in_run(task, ExportSettings(), {"predicate_column": "1"})
    other = model_folder.load(folders / "tagging")
    with pytest.raises(ValueError, match="Received: '1'. Leave it out"):
        jobs.labelled_config(
            other, {}, {"predicate_column": "1"}, as_lines=False
        )
    pipe = tfllm.pipeline(
        "token-classification", model=str(folders / "tagging")
    )
    with pytest.raises(ValueError, match=r"Received: \{'text': 'baba'"):
        pipe({"text": "baba", "predicate": 0})


@pytest.mark.parametrize("column", ["", "1"])
def test_a_run_says_whether_it_had_predicates(column: str) -> None:
    run = RunConfig.of(task="tagging", predicate_column=column)
    found = Tagging.run_arguments(run.values)
    assert found["with_predicates"] is bool(column)


def test_question_answering(
    folders: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    pipe = tfllm.pipeline(
        "question-answering", model=str(folders / "question_answering")
    )
    one = pipe(question="baba?", context=CONTEXT)
    assert set(one) == {"answer", "start", "end", "score"}
    assert CONTEXT[one["start"] : one["end"]] == one["answer"]
    assert one["answer"]
    assert pipe({"question": "baba?", "context": CONTEXT}) == one
    two = pipe(question=["baba?", "kiki?"], context=CONTEXT)
    assert two[0]["answer"] == one["answer"]
    ranked = pipe(question="baba?", context=CONTEXT, top_k=4)
    assert ranked[0] == one
    scores = [answer["score"] for answer in ranked]
    assert scores == sorted(scores, reverse=True)
    short = pipe(question="baba?", context=CONTEXT, top_k=20, max_answer_len=1)
    marks = {(answer["start"], answer["end"]) for answer in short}
    # All tokens of the context: words, and the full stop.
    assert marks == {m.span() for m in re.finditer(r"\w+|\.", CONTEXT)}
    # All spans of 13 tokens, and not the 20 best of them only.
    every = pipe(question="baba?", context=CONTEXT, top_k=99)
    assert len({(a["start"], a["end"]) for a in every}) == 13 * 14 // 2
    assert sum(answer["score"] for answer in every) == pytest.approx(1.0)
    # As the verb gives them.
    (tmp_path / "lines").write_text(f"baba?\t{CONTEXT}\n")
    job = jobs.labelled_job(
        pipe.task,
        str(folders / "question_answering"),
        str(tmp_path / "lines"),
        jobs.labelled_config(pipe.task, {}, {}, as_lines=True),
        top_k=99,
    )
    (result,) = job.predict(list(job.items))
    assert [a["answer"] for a in result["answers"]] == [
        a["answer"] for a in every
    ]
    # A model that may say so says that there is none.
    pipe.task.null_threshold = -1e9
    none = pipe(question="baba?", context=CONTEXT)
    assert (none["answer"], none["start"], none["end"]) == ("", 0, 0)
    asked = {"question": "baba?", "context": CONTEXT}
    assert pipe(**asked, handle_impossible_answer=False) == one
    pipe.task.null_threshold = 1e9
    assert pipe(**asked)["answer"] == one["answer"]
    # Without a threshold from training the likelier one wins.
    pipe.task.null_threshold = None
    ranked = pipe(**asked, top_k=99, handle_impossible_answer=True)
    assert sum(answer["answer"] == "" for answer in ranked) == 1
    scores = [answer["score"] for answer in ranked]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1.0)


def test_fill_mask(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline("fill-mask", model=str(folders / "masked_lm"))
    found = pipe("baba [MASK] kiki.", top_k=230)
    assert set(found[0]) == {"score", "token", "token_str", "sequence"}
    assert sum(one["score"] for one in found) == pytest.approx(1.0, abs=1e-4)
    by_token = {one["token_str"]: one["sequence"] for one in found}
    assert by_token["lolo"] == "baba lolo kiki."
    assert by_token["##lolo"] == "babalolo kiki."
    several = pipe(["baba [MASK] kiki.", "[MASK] dede"])
    assert [len(one) for one in several] == [5, 5]
    assert pipe(["[MASK] dede"]) == pipe("[MASK] dede")
    masks = pipe("baba [MASK] [MASK].", top_k=2)
    assert [len(one) for one in masks] == [2, 2]
    assert masks[0][0]["sequence"].endswith(" [MASK].")


def test_feature_extraction(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(
        "feature-extraction", model=str(folders / "classification")
    )
    # [CLS] and [SEP] beside the words and marks.
    short = np.array(pipe(TEXTS[1]))
    assert short.shape == (1, 4, 16)
    both = pipe(TEXTS)
    assert np.array(both[0]).shape == (1, 8, 16)
    np.testing.assert_allclose(both[1], short, atol=1e-5)
    # They are the hidden states that the head reads.
    task = model_folder.load(folders / "classification")
    tokenizer = WordPieceTokenizer.from_file(str(folders / "vocab.txt"))
    ids = tokenizer.tokenize(tf.constant(TEXTS[1:])).to_list()[0]
    row = np.array(
        [[tokenizer.special.cls, *ids, tokenizer.special.sep]], "int32"
    )
    states = task.model.transformer(row, training=False)
    np.testing.assert_allclose(short, states, atol=1e-5)
    # So they are of a model that embeds texts.
    embedding = tfllm.pipeline(
        "feature-extraction", model=str(folders / "embedding")
    )
    assert np.shape(embedding(TEXTS[1])) == (1, 4, 16)
    # A decoder has no special tokens.
    decoder = tfllm.pipeline(
        "feature-extraction", model=str(folders / "causal_lm")
    )
    bytes_ = ByteBPETokenizer.from_file(str(folders / "causal_lm"))
    count = len(bytes_.tokenize(tf.constant(TEXTS[1:])).to_list()[0])
    assert np.shape(decoder(TEXTS[1])) == (1, count, 16)


def test_text_generation(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline("text-generation", model=str(folders / "causal_lm"))
    (one,) = pipe(TEXTS[0], max_new_tokens=6)
    assert set(one) == {"generated_text"}
    assert one["generated_text"].startswith(TEXTS[0])
    both = pipe(TEXTS, max_new_tokens=6)
    assert [len(found) for found in both] == [1, 1]
    assert both[0] == [one]
    (rest,) = pipe(TEXTS[0], max_new_tokens=6, return_full_text=False)
    assert TEXTS[0] + rest["generated_text"] == one["generated_text"]
    sampled = pipe(
        TEXTS[0],
        max_new_tokens=6,
        do_sample=True,
        num_return_sequences=3,
        seed=1,
    )
    assert len({found["generated_text"] for found in sampled}) == 3
    # What is drawn does not depend on the batches.
    options = {
        "max_new_tokens": 6,
        "do_sample": True,
        "num_return_sequences": 2,
    }
    pipe.batch_size = 2
    drawn = pipe([TEXTS[0]] * 5, **options)
    pipe.batch_size = 8
    assert pipe([TEXTS[0]] * 5, **options) == drawn
    assert len({one["generated_text"] for two in drawn for one in two}) > 5
    assert pipe([]) == []
    with pytest.raises(ValueError, match="Received: input 1 of "):
        pipe([TEXTS[0], "a" * 999])
    # Greedy: the most probable token, one after the other.
    tokenizer = ByteBPETokenizer.from_file(str(folders / "causal_lm"))
    ids = tokenizer.tokenize(tf.constant(TEXTS[:1])).to_list()[0]
    start = len(ids)
    for _ in range(6):
        row = {"token_ids": np.array([ids], "int32")}
        logits = pipe.task(row, training=False)["clm"]
        ids.append(int(np.argmax(logits[0, -1])))
    ids = ids[start:]
    if tokenizer.special.eos in ids:
        ids = ids[: ids.index(tokenizer.special.eos)]
    text = tokenizer.detokenize(tf.ragged.constant([ids], tf.int32))
    expected = text.numpy()[0].decode("utf-8", "replace")
    assert rest["generated_text"] == expected


@pytest.mark.parametrize(
    ("task", "folder", "inputs", "message"),
    [
        ("sorting", "tagging", "", r"`task` must be .*Received: 'sorting'"),
        (
            "fill-mask",
            "tagging",
            "",
            r"Received: .*'tagging'. Its pipelines are "
            r"\['token-classification', 'feature-extraction'\]",
        ),
        ("text-classification", "classification", " ", "Received: ' '"),
        ("fill-mask", "masked_lm", "no mask", "Received: 'no mask'"),
        (
            "question-answering",
            "question_answering",
            "baba?",
            "dicts of `question` and `context`.*Received: 'baba.'",
        ),
    ],
)
def test_what_is_refused(
    folders: pathlib.Path, task: str, folder: str, inputs: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tfllm.pipeline(task, model=str(folders / folder))(inputs)


def test_options_are_those_of_the_call(folders: pathlib.Path) -> None:
    model = str(folders / "tagging")
    plain = tfllm.pipeline("token-classification", model=model)
    pipe = tfllm.pipeline("token-classification", model=model, ignore_labels=[])
    equal(pipe(TEXTS), plain(TEXTS, ignore_labels=[]))
    equal(pipe(TEXTS, ignore_labels=["O"]), plain(TEXTS))
    with pytest.raises(
        ValueError, match=r"takes .*`ignore_labels`.*Received: `top_k`"
    ):
        tfllm.pipeline("token-classification", model=model, top_k=1)


def test_half_of_a_surrogate_pair(folders: pathlib.Path) -> None:
    message = r"input 9 must be valid Unicode.*'\\ud83d', at character 5"
    classify = tfllm.pipeline(
        "text-classification", model=str(folders / "classification")
    )
    with pytest.raises(ValueError, match=message):
        classify([*["baba"] * 9, "baba \ud83d"])
    vectors = tfllm.pipeline(
        "feature-extraction", model=str(folders / "classification")
    )
    with pytest.raises(ValueError, match=message):
        vectors([*["baba"] * 9, "baba \ud83d"])
