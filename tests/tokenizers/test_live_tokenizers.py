"""Saved tokenizers in Transformers: the class and the ids of every family."""

import pathlib

import pytest

from tests.tokenizers.test_sentence_piece import (
    TEXTS,
    tokenizer_of,
    train,
)
from tfllm.models import FAMILIES
from tools import parity_rows, parity_tokenizers
from tools.difficult_lines import difficult_lines

pytestmark = pytest.mark.live_parity

transformers = pytest.importorskip("transformers")

# What family files call the classes, or read as what they are: the class of
# Transformers for a tokenizer.json as it is.
AS_IT_IS = "TokenizersBackend"
CLASSES = {
    # Its other name, BartTokenizer, is the same class.
    "bart": "RobertaTokenizer",
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "BertTokenizer",
    "marian": "MarianTokenizer",
    "gpt2": "GPT2Tokenizer",
    "roberta": "RobertaTokenizer",
    # LLaMA 3's.
    "llama": AS_IT_IS,
    "openai-gpt": "OpenAIGPTTokenizer",
    "opt": "GPT2Tokenizer",
    "qwen2": "Qwen2Tokenizer",
}


# Marian's class in Transformers, which does not use it either.
@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("name", FAMILIES)
def test_class_and_ids_of_a_new_vocabulary(
    name: str, tmp_path: pathlib.Path
) -> None:
    ours, theirs = parity_tokenizers.new_vocabulary(name, tmp_path)
    assert type(theirs).__name__ == CLASSES.get(name, AS_IT_IS)
    unlike = parity_tokenizers.different(
        ours,
        lambda text: theirs(text)["input_ids"],
        difficult_lines(parity_tokenizers.NUM_LINES),
    )
    allowed = parity_rows.allowed_lines(name)
    assert len(unlike) <= allowed, unlike


@pytest.mark.wide
@pytest.mark.parametrize("name", parity_tokenizers.PIECE_FILES)
def test_published_pieces(name: str, tmp_path: pathlib.Path) -> None:
    """Sentinels of T5, ids of fairseq, accents and quotes of XLNet."""
    cells, equal = parity_rows.published_lines(name, tmp_path / "model")
    assert equal, cells


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentence_piece_folder(kind: str, tmp_path: pathlib.Path) -> None:
    ours = tokenizer_of(
        train(
            model_type=kind,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
        )
    )
    theirs = parity_tokenizers.save("llama", ours, tmp_path)
    assert type(theirs).__name__ == AS_IT_IS
    spelled = ("<s>", "</s>", "<unk>", "<0x41>")
    texts = [t for t in TEXTS if not any(s in t for s in spelled)]
    rows = ours(texts, padding=False)["token_ids"].to_list()
    different = [
        text
        for text, row in zip(texts, rows, strict=True)
        if row != theirs(text)["input_ids"]
    ]
    # Of unigram, runs whose pieces have equal sums come in another order.
    assert len(different) <= (10 if kind == "unigram" else 0), different
    assert (
        ours(texts[50], texts[51])["token_ids"].numpy().tolist()
        == (theirs(texts[50], texts[51])["input_ids"])
    )
