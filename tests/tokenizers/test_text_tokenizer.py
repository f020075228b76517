"""Calling a tokenizer: texts to the inputs of a model, and back."""

import functools
import pathlib

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfllm.tokenizers import ByteBPETokenizer, SpecialTokens, WordPieceTokenizer
from tfllm.tokenizers.byte_pair_model import byte_symbols

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB += ["the", "cat", "sat", "##s", "on", "a", "mat", ".", ",", "is", "n't"]
TEXTS = ["the cats sat.", "a mat", "", "The CAT, the mat, the cat on a mat."]
PAIRS = ["on the mat", "a cat is on a mat, is the cat.", "the", "cat"]


@pytest.fixture(name="bert", scope="module")
def _bert() -> WordPieceTokenizer:
    return WordPieceTokenizer(VOCAB)


@pytest.fixture(name="gpt2", scope="module")
def _gpt2() -> ByteBPETokenizer:
    return ByteBPETokenizer(
        [*byte_symbols(), "ab", "\u0120ab", "<|endoftext|>"],
        [("a", "b"), ("\u0120", "ab")],
        special_tokens=SpecialTokens(eos="<|endoftext|>"),
    )


def listed(features: dict) -> dict:
    return {name: value.numpy().tolist() for name, value in features.items()}


def test_one_text_is_a_row(bert: WordPieceTokenizer) -> None:
    # Of BertTokenizerFast with this vocabulary.
    assert listed(bert("the cats sat.")) == {
        "token_ids": [2, 5, 6, 8, 7, 12, 3],
        "padding_mask": [1] * 7,
        "segment_ids": [0] * 7,
    }
    assert listed(bert("the cat", "a mat")) == {
        "token_ids": [2, 5, 6, 3, 10, 11, 3],
        "padding_mask": [1] * 7,
        "segment_ids": [0] * 4 + [1] * 3,
    }
    bare = bert("the cat", "a mat", add_special_tokens=False)
    assert listed(bare) == {
        "token_ids": [5, 6, 10, 11],
        "padding_mask": [1] * 4,
        "segment_ids": [0, 0, 1, 1],
    }
    assert all(value.dtype == tf.int32 for value in bare.values())


def test_a_list_is_padded(bert: WordPieceTokenizer) -> None:
    assert listed(bert(["the cat", "mat"])) == {
        "token_ids": [[2, 5, 6, 3], [2, 11, 3, 0]],
        "padding_mask": [[1, 1, 1, 1], [1, 1, 1, 0]],
        "segment_ids": [[0] * 4] * 2,
    }
    ragged = bert(["the cat", "mat"], padding=False)
    assert isinstance(ragged["token_ids"], tf.RaggedTensor)
    assert ragged["token_ids"].to_list() == [[2, 5, 6, 3], [2, 11, 3]]
    long = bert(["the cat", "mat"], padding="max_length", max_length=6)
    assert long["token_ids"].shape == (2, 6)
    assert bert("mat", padding="max_length", max_length=5)[
        "padding_mask"
    ].numpy().tolist() == [1, 1, 1, 0, 0]
    assert bert([])["token_ids"].shape == (0, 0)


def test_rows_are_cut_longest_first(bert: WordPieceTokenizer) -> None:
    assert bert("the cat sat on", max_length=4)["token_ids"].numpy().tolist()[
        1:3
    ] == [5, 6]
    # 9 tokens less 3 special ones are 6, of 7 and 2.
    pair = bert("the cat sat on a mat .", "a mat", max_length=9)
    assert pair["token_ids"].numpy().tolist() == [
        2, 5, 6, 7, 9, 3, 10, 11, 3
    ]  # fmt: skip
    uncut = bert(
        "the cat sat", max_length=4, truncation=False, padding="max_length"
    )
    assert uncut["token_ids"].shape == (5,)
    batch = bert(
        ["the cat sat", "a"],
        max_length=4,
        truncation=False,
        padding="max_length",
    )
    assert batch["token_ids"].shape == (2, 5)


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        np.array,
        pd.Series,
        tf.constant,
        lambda texts: np.array(texts, object),
        lambda texts: [text.encode() for text in texts],
    ],
)
def test_every_form_of_texts(form, bert: WordPieceTokenizer) -> None:
    expected = listed(bert(TEXTS, PAIRS, max_length=12))
    assert listed(bert(form(TEXTS), form(PAIRS), max_length=12)) == expected


def test_in_tf_data(bert: WordPieceTokenizer, gpt2: ByteBPETokenizer) -> None:
    for tokenizer in (bert, gpt2):
        rows = tf.data.Dataset.from_tensor_slices(TEXTS)
        one_by_one = [listed(row) for row in rows.map(tokenizer)]
        assert one_by_one == [listed(tokenizer(text)) for text in TEXTS]
        (batch,) = rows.batch(4).map(tokenizer)
        assert listed(batch) == listed(tokenizer(TEXTS))
        fixed = functools.partial(tokenizer, padding="max_length", max_length=8)
        spec = rows.batch(4, drop_remainder=True).map(fixed).element_spec
        assert spec["token_ids"].shape == (4, 8)


def test_a_decoder_has_its_own_rows(gpt2: ByteBPETokenizer) -> None:
    eos = gpt2.special.eos
    assert listed(gpt2("ab ab")) == {
        "token_ids": [256, 257],
        "padding_mask": [1, 1],
    }
    # As `tfllm.data.labelled` lays out pairs and texts without tokens.
    assert gpt2("ab", "ab")["token_ids"].numpy().tolist() == [256, eos, 256]
    assert listed(gpt2(["", "abab"])) == {
        "token_ids": [[eos, eos], [256, 256]],
        "padding_mask": [[1, 0], [1, 1]],
    }
    bare = gpt2(["", "ab"], ["ab", ""], add_special_tokens=False)
    assert listed(bare)["token_ids"] == [[256], [256]]
    assert gpt2("", add_special_tokens=False)["token_ids"].shape == (0,)


def test_decode(bert: WordPieceTokenizer, gpt2: ByteBPETokenizer) -> None:
    # Of BertTokenizerFast with this vocabulary.
    ids = [2, 5, 6, 8, 13, 14, 15, 10, 11, 12, 3]
    shown = "[CLS] the cats, isn't a mat. [SEP]"
    assert bert.decode(ids) == shown
    assert bert.decode(tf.constant(ids)) == shown
    assert bert.decode(np.array([ids, ids])) == [shown] * 2
    assert bert.decode([ids[1:4], []]) == ["the cats", ""]
    assert bert.decode(bert(TEXTS)["token_ids"], skip_special_tokens=True) == [
        "the cats sat.", "a mat", "", "the cat, the mat, the cat on a mat."
    ]  # fmt: skip
    ragged = bert(["a mat", "the"], padding=False)["token_ids"]
    assert bert.decode(ragged) == ["[CLS] a mat [SEP]", "[CLS] the [SEP]"]
    assert bert.decode(5) == "the"
    text = "ab naïve 日本 ab\n"
    assert gpt2.decode(gpt2(text)["token_ids"]) == text
    assert gpt2.decode(gpt2("é")["token_ids"][:1]) == "\ufffd"
    assert gpt2.decode([256, gpt2.special.eos]) == "ab<|endoftext|>"
    assert (
        gpt2.decode([256, gpt2.special.eos], skip_special_tokens=True) == "ab"
    )


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("a", ["b"]), {}, r"`text_pair` .* Received: \(1,\) for \(\)"),
        ((["a"], ["b", "c"]), {}, r"Received: \(2,\) for \(1,\)"),
        (([("a", "b")],), {}, "flat list of texts.*`text_pair`"),
        (([["a"], ["b", "c"]],), {}, r"`text\[0\]` must be text. .*list"),
        ((["a", 3],), {}, r"`text\[1\]` must be text. Received: 3, int"),
        ((None,), {}, "must be a text.*Received: None"),
        ((["a", "x\ud800"],), {}, r"`text\[1\]`.*'\\ud800', at character 1"),
        (("a", "\udfff"), {}, r"`text_pair` must be valid Unicode"),
        ((tf.constant([["a"]]),), {}, r"shape \(1, 1\)"),
        ((tf.constant([1]),), {}, "Received: int32"),
        (("a",), {"padding": "longer"}, "Received: 'longer'"),
        (("a",), {"padding": "max_length"}, "`max_length` must be given"),
        (("a",), {"truncation": True}, "`max_length` must be given"),
        (("a",), {"truncation": "only_first"}, "Received: 'only_first'"),
        (("a",), {"max_length": 2}, "Received: 2. Use at least 3"),
    ],
)
def test_refuses(arguments, options, message, bert) -> None:
    with pytest.raises(ValueError, match=message):
        bert(*arguments, **options)


def test_decode_refuses(bert: WordPieceTokenizer) -> None:
    with pytest.raises(ValueError, match="from 0 to 15.*Received: 16"):
        bert.decode([5, 16])
    with pytest.raises(ValueError, match="Received: 0.5, float"):
        bert.decode([0.5])
    with pytest.raises(ValueError, match="whole numbers in one or two axes"):
        bert.decode([[[1]]])


@pytest.mark.live_parity
def test_equals_transformers(
    tmp_path: pathlib.Path, bert: WordPieceTokenizer, gpt2: ByteBPETokenizer
) -> None:
    transformers = pytest.importorskip("transformers")
    for tokenizer, name in ((bert, "Bert"), (gpt2, "GPT2")):
        folder = tmp_path / name
        tokenizer.save(str(folder))
        kind = getattr(transformers, f"{name}TokenizerFast")
        reference = kind.from_pretrained(str(folder))
        for pairs in (None, PAIRS):
            for length in (None, 5, 9, 12):
                for special in (True, False):
                    if name == "GPT2" and (special or length == 5):
                        continue  # Rows of its own; see TextTokenizer.
                    ours = tokenizer(
                        TEXTS,
                        pairs,
                        max_length=length,
                        padding=False,
                        add_special_tokens=special,
                    )
                    theirs = reference(
                        TEXTS,
                        pairs,
                        max_length=length,
                        truncation=length is not None,
                        add_special_tokens=special,
                    )
                    assert ours["token_ids"].to_list() == theirs["input_ids"]
                    if name == "Bert":
                        assert (
                            ours["segment_ids"].to_list()
                            == theirs["token_type_ids"]
                        )
        for ids in tokenizer(TEXTS)["token_ids"].numpy().tolist():
            assert tokenizer.decode(ids) == reference.backend_tokenizer.decode(
                ids, skip_special_tokens=False
            )
