"""Training of SentencePiece models."""

import pathlib
from typing import Any

import pytest

from tests.tokenizers.test_sentence_piece import corpus
from tfllm.data.vocabularies import sentence_piece
from tfllm.data.vocabularies.sentence_piece import SentencePieceTrainingConfig
from tfllm.tokenizers import SpecialTokens, load_tokenizer
from tfllm.tokenizers.sentence_piece_model import parse


def config(**options: Any) -> SentencePieceTrainingConfig:
    return SentencePieceTrainingConfig(
        **{"vocab_size": 1000, "character_coverage": 0.98, **options}
    )


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_the_same_text_gives_the_same_folder(
    model_type: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a.txt").write_text("\n".join(corpus()))
    for name in ("first", "second"):
        size = sentence_piece.train(
            str(tmp_path / "*.txt"),
            str(tmp_path / name),
            config(model_type=model_type),
        )
        assert size == 1000
    for path in (tmp_path / "first").iterdir():
        assert (
            path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
        )
    tokenizer = load_tokenizer(str(tmp_path / "first"))
    assert tokenizer.vocab[:4] == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert (tokenizer.special.unk, tokenizer.special.bos) == (0, 1)
    assert tokenizer.row_template.opens == (1,)
    text = "  def f(x):\n\treturn  😀 "
    (ids,) = tokenizer.tokenize([text]).to_list()
    assert tokenizer.decode(ids) == text


def test_special_tokens_get_the_ids_of_their_order() -> None:
    tokens, order = sentence_piece.parse_special_tokens(
        ["cls=[CLS]", "pad=<pad>", "unk=<unk>", "bos=[CLS]", "mask=[MASK]"]
    )
    content = sentence_piece.train_model(
        corpus(),
        config(
            special_tokens=tokens,
            role_order=order,
            user_tokens=("<user>",),
            byte_fallback=False,
            normalization="nmt_nfkc",
        ),
    )
    model = parse(content, "model")
    pieces = [piece.piece for piece in model.pieces]
    assert pieces[:5] == ["[CLS]", "<pad>", "<unk>", "[MASK]", "<user>"]
    assert model.trainer_spec.bos_id == 0
    assert model.trainer_spec.eos_id == -1
    assert model.normalizer_spec.remove_extra_whitespaces


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 259}, "above 259.*Received: 259"),
        ({"model_type": "char"}, "bpe or unigram.*'char'"),
        ({"normalization": "nfd"}, "identity or .*'nfd'"),
        ({"character_coverage": 0.5}, "0.98 to 1.*Received: 0.5"),
        ({"special_tokens": SpecialTokens(bos="<s>")}, "unknown token"),
    ],
)
def test_settings_that_do_not_fit(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        config(**options)


@pytest.mark.parametrize(
    ("lines", "size", "message"),
    [
        (["abc abd"] * 9, 900, "at most .*Received: 900"),
        (["".join(map(chr, range(0x4E00, 0x5000)))] * 9, 400, "at least "),
        (["", " "], 400, "must hold text"),
    ],
)
def test_texts_that_do_not_fit(
    lines: list[str], size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sentence_piece.train_model(lines, config(vocab_size=size))
