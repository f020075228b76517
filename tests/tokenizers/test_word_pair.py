"""BPE over words: the merges by hand, files, and what is refused."""

import json
import pathlib
from typing import Any

import pytest
import tensorflow as tf

from tfllm.tokenizers import (
    SpecialTokens,
    WordPairTokenizer,
    load_tokenizer,
)

VOCAB = [
    "<unk>", "a", "b", "c", "a</w>", "b</w>", "!</w>", "ab", "bc</w>",
    "abbc</w>", "</s>",
]  # fmt: skip
MERGES = [("a", "b"), ("b", "c</w>"), ("ab", "bc</w>")]
EXTRA = {"c</w>": 11}
TOKENS = SpecialTokens(unk="<unk>", eos="</s>")


def build(
    vocab: Any = (*VOCAB, *EXTRA), merges: Any = MERGES, **options: Any
) -> WordPairTokenizer:
    options = {"special_tokens": TOKENS, **options}
    return WordPairTokenizer(vocab, merges, **options)


def spelled(tokenizer: Any, text: str) -> list[str]:
    ids = tokenizer.tokenize(tf.constant([text])).to_list()[0]
    return [tokenizer.id_to_token(i) for i in ids]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("abbc", ["abbc</w>"]),
        # "b" at the end of a word is another symbol than inside.
        ("ab", ["a", "b</w>"]),
        ("aba", ["ab", "a</w>"]),
        ("ABbc  ca\tá!", ["abbc</w>", "c", "a</w>", "a</w>", "!</w>"]),
        # "!" is known at the end of a word only, where it always is.
        ("a!b", ["a</w>", "!</w>", "b</w>"]),
        # One unknown token for each character, of any width.
        ("axé€🙂", ["a", "<unk>", "<unk>", "<unk>", "<unk>"]),
        ("xx a", ["<unk>", "<unk>", "a</w>"]),
        ("</s>", ["<unk>", "<unk>", "<unk>", "<unk>"]),
        ("", []),
    ],
)
def test_merges_by_hand(text: str, tokens: list[str]) -> None:
    assert spelled(build(), text) == tokens


def test_places_and_texts() -> None:
    tokenizer = build()
    text = "é Abbc x🙂a"
    ids, starts, ends = tokenizer.tokenize_with_offsets(tf.constant([text]))
    cuts = [
        text.encode()[a:b].decode()
        for a, b in zip(starts.to_list()[0], ends.to_list()[0], strict=True)
    ]
    assert cuts == ["é", "Abbc", "x", "🙂", "a"]
    assert tokenizer.decode(ids) == ["<unk>abbc <unk><unk>a"]
    assert tokenizer.decode([[9, 10]]) == ["abbc </s>"]
    after = tokenizer.detokenize_after_text(tf.constant([[9, 1], [10, 10]]))
    assert [t.decode() for t in after.numpy()] == [" abbc a", ""]
    assert tokenizer.token_bytes[9] == b"abbc "
    assert not tokenizer.is_continuation.any()


def test_in_a_graph() -> None:
    tokenizer = build()
    texts = ["ab bc", "", "x" * 5, "a  b"]
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(2)
    rows = [
        row
        for part in dataset.map(tokenizer.tokenize)
        for row in part.to_list()
    ]
    assert rows == tokenizer.tokenize(tf.constant(texts)).to_list()


@pytest.mark.parametrize("alone", [False, True])
def test_files(alone: bool, tmp_path: pathlib.Path) -> None:
    ours = build()
    ours.save(str(tmp_path))
    if alone:
        # As published: without tokenizer.json.
        (tmp_path / "tokenizer.json").unlink()
    again = load_tokenizer(str(tmp_path))
    assert isinstance(again, WordPairTokenizer)
    assert again.vocab_hash() == ours.vocab_hash()
    assert (again.special, again.row_template) == (
        ours.special,
        ours.row_template,
    )
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "OpenAIGPTTokenizer"
    by_file = load_tokenizer(str(tmp_path / "vocab.json"))
    assert by_file.vocab == ours.vocab


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("normalizer", "lowercase", False),
        ("normalizer", "strip_accents", False),
        ("normalizer", "type", "NFC"),
        ("pre_tokenizer", "type", "Whitespace"),
        ("decoder", "suffix", "@@"),
        ("model", "fuse_unk", True),
        ("model", "dropout", 0.1),
        ("model", "end_of_word_suffix", "@@"),
    ],
)
def test_what_is_not_built_is_refused(
    part: str, field: str, value: Any, tmp_path: pathlib.Path
) -> None:
    build().save(str(tmp_path))
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    content[part][field] = value
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"`{part}.{field}`.*{value!r}"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"special_tokens": SpecialTokens(eos="</s>")}, "must have a unk"),
        ({"merges": [("a", "d")]}, "'d' is not in the vocabulary"),
        (
            {
                "vocab": [*VOCAB, *EXTRA, "bb", "abb", "bbc</w>"],
                "merges": [*MERGES[:2], ("a", "bc</w>"), ("b", "b")],
            },
            "not in the vocabulary",
        ),
    ],
)
def test_bad_vocabularies(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)
