"""T5's sentinels: added special tokens whose ids fall."""

import json
import pathlib
from typing import Any

import pytest
import sentencepiece
import tensorflow as tf

from tests.tokenizers.test_sentence_piece import train
from tfllm.tokenizers import load_tokenizer

SIZE = 900
NAMES = [f"<extra_id_{number}>" for number in range(3)]
DECODER = {
    str(SIZE + 2 - number): {"content": name, "special": True}
    for number, name in enumerate(NAMES)
}


@pytest.fixture(name="content", scope="module")
def _content() -> bytes:
    return train(
        model_type="unigram",
        vocab_size=SIZE,
        character_coverage=0.98,
        normalization_rule_name="nmt_nfkc",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )


def write(folder: pathlib.Path, content: bytes, config: dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "spiece.model").write_bytes(content)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"tokenizer_class": "T5Tokenizer", "extra_ids": 3},
        {"extra_ids": 3, "additional_special_tokens": NAMES},
        {"additional_special_tokens": NAMES[::-1]},
        {"added_tokens_decoder": DECODER, "extra_ids": 3},
        {"tokenizer_class": "T5TokenizerFast", "extra_ids": 3},
    ],
)
def test_ids_fall(
    config: dict[str, Any], content: bytes, tmp_path: pathlib.Path
) -> None:
    tokenizer = load_tokenizer(write(tmp_path / "first", content, config))
    ids = [tokenizer.token_to_id(name) for name in NAMES]
    assert ids == [SIZE + 2, SIZE + 1, SIZE]
    assert set(ids) <= tokenizer.special_ids
    assert set(NAMES) <= set(tokenizer.special_tokens.additional)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    parts = ["The house ", " was ", "on the hill."]
    text = "".join(p + name for p, name in zip(parts, NAMES, strict=True))
    expected = [
        token
        for part, number in zip(parts, ids, strict=True)
        for token in (*theirs.encode(part), number)
    ]
    run = tf.function(lambda texts: tokenizer.tokenize(texts).to_tensor(-1))
    assert run(tf.constant([text])).numpy().tolist() == [expected]
    shown = tokenizer.decode(expected, skip_special_tokens=True)
    assert shown == "The house was on the hill."
    assert NAMES[0] in tokenizer.decode(expected)
    tokenizer.save(str(tmp_path / "second"))
    again = load_tokenizer(str(tmp_path / "second"))
    assert again.vocab == tokenizer.vocab
    assert again.vocab_hash() == tokenizer.vocab_hash()


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"tokenizer_class": "T5Tokenizer"}, 100),
        ({"tokenizer_class": "T5Tokenizer", "extra_ids": 0}, 0),
        ({}, 0),
    ],
)
def test_how_many(
    config: dict[str, Any],
    count: int,
    content: bytes,
    tmp_path: pathlib.Path,
) -> None:
    tokenizer = load_tokenizer(write(tmp_path, content, config))
    assert tokenizer.vocab_size == SIZE + count
    if count:
        assert tokenizer.vocab[-1] == "<extra_id_0>"
        assert tokenizer.vocab[SIZE] == f"<extra_id_{count - 1}>"
