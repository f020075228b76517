"""`fit` and `predict` on texts: the same as on what the tokenizer gives."""

from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.tasks import labelled
from tests.tasks.tiny_task import difference
from tfllm.models import FAMILIES
from tfllm.tasks import CausalLM, Task
from tfllm.tokenizers import ByteBPETokenizer, SpecialTokens, WordPieceTokenizer
from tfllm.tokenizers.byte_pair_model import byte_symbols

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB += ["the", "cat", "sat", "##s", "on", "a", "mat", ".", ","]
TEXTS = ["the cats sat.", "a mat", "on the mat", "the cat, the mat, a cat sat"]
PAIRS = ["a cat", "the mat is on a mat", "", "."]
LABELS = ["no", "yes", "no", "perhaps"]
NUMBERS = [0, 2, 0, 1]


def compiled(name: str = "classification", **settings: Any) -> Task:
    task = labelled.create(name, "bert", **settings)
    task.tokenizer = WordPieceTokenizer(VOCAB)
    task.compile(keras.optimizers.SGD(0.3), run_eagerly=True)
    return task


def fitted(name: str, *data: Any, **settings: Any) -> Task:
    task = compiled(name, **settings)
    task.fit(*data, shuffle=False, verbose=0)
    return task


FORMS = {
    "lists": lambda: (TEXTS, LABELS),
    "arrays": lambda: (np.array(TEXTS), np.array(NUMBERS)),
    "objects": lambda: (np.array(TEXTS, object), np.array(LABELS, object)),
    "pandas": lambda: (pd.Series(TEXTS), pd.Series(LABELS)),
    "tensors": lambda: (tf.constant(TEXTS), tf.constant(LABELS)),
    "a dict": lambda: ({"text": TEXTS}, {"classification": LABELS}),
    "a dataset": lambda: (
        tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(4),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_texts_are_what_the_tokenizer_makes_of_them(form: str) -> None:
    # The longest row of the model has 12 tokens.
    x = WordPieceTokenizer(VOCAB)(TEXTS, max_length=12)
    expected = fitted("classification", x, np.array(NUMBERS))
    assert difference(expected, fitted("classification", *FORMS[form]())) < 1e-6


@pytest.mark.parametrize(
    "pairs",
    [(TEXTS, PAIRS), {"text": TEXTS, "text_pair": PAIRS}],
    ids=["tuple", "dict"],
)
def test_pairs(pairs: Any) -> None:
    x = WordPieceTokenizer(VOCAB)(TEXTS, PAIRS, max_length=12)
    expected = fitted("classification", x, np.array(NUMBERS))
    assert difference(expected, fitted("classification", pairs, NUMBERS)) < 1e-6
    task = compiled()
    np.testing.assert_allclose(
        task.predict(pairs, verbose=0)["classification"],
        task(x)["classification"],
        atol=1e-6,
    )


def test_validation_split_takes_the_last_texts() -> None:
    task = compiled()
    history = task.fit(TEXTS, LABELS, validation_split=0.25, verbose=0).history
    x = WordPieceTokenizer(VOCAB)(TEXTS, max_length=12)
    last = {name: value[3:] for name, value in x.items()}
    expected = task.evaluate(last, np.array(NUMBERS[3:]), verbose=0)
    assert history["val_loss"][0] == pytest.approx(expected[0], abs=1e-5)


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_batches_of_a_generator_may_have_any_width() -> None:
    parts = [slice(0, 1), slice(1, 2), slice(2, 4)]
    task = compiled()
    task.fit(((TEXTS[p], NUMBERS[p]) for p in parts), verbose=0)
    expected = compiled()
    for p in parts:
        x = WordPieceTokenizer(VOCAB)(TEXTS[p], max_length=12)
        expected.train_on_batch(x, np.array(NUMBERS[p]))
    assert difference(task, expected) < 1e-6


def test_the_order_of_parts_does_not_matter() -> None:
    task = compiled()
    pairs = {"text_pair": PAIRS, "text": TEXTS}
    np.testing.assert_allclose(
        task.predict(pairs, verbose=0)["classification"],
        task.predict((TEXTS, PAIRS), verbose=0)["classification"],
    )


def test_ragged_rows_are_padded() -> None:
    task = compiled()
    tokenizer = WordPieceTokenizer(VOCAB)
    ragged = tokenizer(TEXTS, padding=False, max_length=12)
    np.testing.assert_allclose(
        task.predict(ragged, verbose=0)["classification"],
        task.predict(TEXTS, verbose=0)["classification"],
        atol=1e-6,
    )


def test_a_causal_model_predicts_for_all_tokens() -> None:
    logits = causal().predict(["abc"], verbose=0)["clm"]
    assert logits.shape == (1, 3, 258)


def test_a_tagger_and_an_answerer_predict_on_texts() -> None:
    tokenizer = WordPieceTokenizer(VOCAB)
    tagger = compiled("tagging")
    np.testing.assert_allclose(
        tagger.predict(TEXTS, verbose=0)["tagging"],
        tagger(tokenizer(TEXTS, max_length=12))["tagging"],
        atol=1e-6,
    )
    answerer = compiled("question_answering")
    found = answerer.predict({"question": TEXTS, "context": PAIRS}, verbose=0)
    expected = answerer(tokenizer(TEXTS, PAIRS, max_length=12))
    np.testing.assert_allclose(found["start"], expected["start"], atol=1e-6)


def test_pairs_of_an_embedding_are_rows_of_two() -> None:
    task = compiled("embedding")
    vectors = task.predict(TEXTS, verbose=0)["embedding"]
    both = task.predict((TEXTS, PAIRS), verbose=0)["embedding"]
    assert both.shape == (4, 2, labelled.NUMBERS["hidden_size"])
    np.testing.assert_allclose(both[:, 0], vectors, atol=1e-5)
    contrastive = compiled("embedding", loss="contrastive")
    history = contrastive.fit((TEXTS, PAIRS), epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_choices_are_a_row_each() -> None:
    task = compiled("multiple_choice")
    choices = np.array(
        [
            [first, second, "a"]
            for first, second in zip(TEXTS, PAIRS, strict=True)
        ]
    )
    found = task.predict({"text": TEXTS, "choices": choices}, verbose=0)
    for column in range(3):
        x = WordPieceTokenizer(VOCAB)(TEXTS, choices[:, column], max_length=12)
        alone = task({k: v[:, tf.newaxis] for k, v in x.items()})
        np.testing.assert_allclose(
            found["multiple_choice"][:, column],
            alone["multiple_choice"][:, 0],
            atol=1e-5,
        )


def causal() -> CausalLM:
    keras.utils.set_random_seed(1)
    config = FAMILIES["gpt2"].config(**{**labelled.NUMBERS, "vocab_size": 258})
    task = CausalLM(config)
    task.tokenizer = ByteBPETokenizer(
        [*byte_symbols(), "<|endoftext|>"],
        [],
        special_tokens=SpecialTokens(eos="<|endoftext|>"),
    )
    task.compile(keras.optimizers.SGD(0.3), run_eagerly=True)
    return task


def test_a_causal_model_learns_the_next_tokens() -> None:
    texts = ["abc", "a text of more than twelve bytes"]
    task, expected = causal(), causal()
    table = {symbol: i for i, symbol in enumerate(byte_symbols())}
    ids = np.zeros((2, 13), "int32")
    weights = np.zeros((2, 13), "float32")
    # Bytes that print are their own symbols; a space is U+0120.
    for row, text in enumerate(texts):
        symbols = [table[c] for c in text.replace(" ", "\u0120")]
        symbols = [*symbols, 256][:13]
        ids[row, : len(symbols)] = symbols
        weights[row, : len(symbols)] = 1.0
    task.fit(texts, verbose=0, shuffle=False)
    expected.fit(
        {"token_ids": ids[:, :-1], "padding_mask": weights[:, :-1] > 0},
        ids[:, 1:],
        sample_weight=weights[:, 1:],
        verbose=0,
        shuffle=False,
    )
    assert difference(task, expected) < 1e-6
    in_graph = causal()
    in_graph.fit(tf.data.Dataset.from_tensors(texts), verbose=0, shuffle=False)
    assert difference(task, in_graph) < 1e-6
    # The tokenizer is enough to generate with.
    assert len(task.generate(["ab"], max_new_tokens=2)) == 1


def test_a_tokenizer_is_no_part_of_checkpoints() -> None:
    names = [name for name, _ in tf.train.list_variables(_saved(compiled()))]
    assert not [name for name in names if "token" in name.split("/")[0]]
    bare = labelled.create("classification", "bert")
    bare.compile(keras.optimizers.SGD(0.3))
    assert names == [n for n, _ in tf.train.list_variables(_saved(bare))]


def _saved(task: Task) -> str:
    import tempfile

    folder = tempfile.mkdtemp()
    return tf.train.Checkpoint(task=task).write(f"{folder}/checkpoint")


REFUSED = {
    "no tokenizer": (
        lambda: labelled.create("classification", "bert").predict(TEXTS),
        "texts need a tokenizer",
    ),
    "tags": (
        lambda: compiled("tagging").fit(TEXTS, np.zeros((4, 3), int)),
        "`fit` of tagging takes no texts: tags go with words",
    ),
    "one text": (
        lambda: compiled().predict("the cat"),
        r"batch of texts, of rank 1. Received: rank 0. Give \[text\]",
    ),
    "texts that are missing": (
        lambda: compiled().predict(pd.Series([None, "the cat"])),
        "x must not have missing values. Received: (None|nan) in row 0",
    ),
    "no texts": (lambda: compiled().predict([]), "x must have rows"),
    "a tokenizer of others": (
        lambda: setattr(
            labelled.create("tagging", "bert"), "tokenizer", "bert"
        ),
        "`tokenizer` must be one of tfllm.*Received: str",
    ),
    "names of columns": (
        lambda: compiled().predict({"sentence": TEXTS}),
        r"one of the names .*Received: \['sentence'\]",
    ),
    "a second text of a model that reads one": (
        lambda: causal().predict((TEXTS, PAIRS)),
        "texts for causal_lm must be one of",
    ),
    "a larger tokenizer": (
        lambda: setattr(
            labelled.create("tagging", "bert"),
            "tokenizer",
            WordPieceTokenizer([*VOCAB, *(f"w{i}" for i in range(50))]),
        ),
        "at most as many tokens as the model, 40. Received: 64",
    ),
    "labels of running text": (
        lambda: causal().fit(TEXTS, LABELS),
        "are their own next tokens",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    run, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        run()


def test_summary_shows_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    task = compiled()
    task.compile("sgd", freeze="embeddings")
    task.summary()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    table = {part: (n, trainable) for part, n, trainable in lines[1:]}
    parts = ["embeddings", "block_0", "pooler", "sequence_classifier", "all"]
    assert list(table) == parts
    assert table["embeddings"][1] == "0"
    # 3 labels of 16 numbers and a bias.
    assert table["sequence_classifier"] == ("51", "51")
    assert table["all"][0] == f"{task.count_params():,}"


def test_export_names_the_verb() -> None:
    with pytest.raises(NotImplementedError, match="python -m tfllm.export"):
        compiled().export("somewhere")
