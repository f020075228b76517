"""Saved tokenizers in Transformers: the class and the ids of every family."""

import pathlib
from typing import Any

import pytest

import tfllm
from tests.tokenizers.difficult_lines import difficult_lines
from tests.tokenizers.test_sentence_piece import (
    TEXTS,
    corpus,
    tokenizer_of,
    train,
)
from tfllm.data.vocabularies.train import train as train_vocabulary
from tfllm.models import FAMILIES
from tfllm.tokenizers import Tokenizer, load_tokenizer
from tools.family_arguments import off_default, pretraining_task

pytestmark = pytest.mark.live_parity

transformers = pytest.importorskip("transformers")

SIZE = {
    "num_layers": 1,
    "hidden_size": 24,
    "num_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}
# What family files call the classes, or read as what they are: the class of
# Transformers for a tokenizer.json as it is.
AS_IT_IS = "TokenizersBackend"
CLASSES = {
    # Its other name, BartTokenizer, is the same class.
    "bart": "RobertaTokenizer",
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "marian": "MarianTokenizer",
    "gpt2": "GPT2Tokenizer",
    "roberta": "RobertaTokenizer",
    # LLaMA 3's.
    "llama": AS_IT_IS,
    "openai-gpt": "OpenAIGPTTokenizer",
    "opt": "GPT2Tokenizer",
    "qwen2": "Qwen2Tokenizer",
}


def save(name: str, tokenizer: Tokenizer, folder: pathlib.Path) -> Any:
    """Writes a model folder; returns the tokenizer of Transformers."""
    family = FAMILIES[name]
    sizes = {k: v for k, v in SIZE.items() if k in off_default(family)}
    ids = {
        k: v for k, v in tokenizer.model_ids.items() if k in off_default(family)
    }
    config = family.config(**sizes, **ids, vocab_size=tokenizer.vocab_size)
    tfllm.save(pretraining_task(config), folder, tokenizer)
    return transformers.AutoTokenizer.from_pretrained(folder)


# Marian's class in Transformers, which does not use it either.
@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("name", FAMILIES)
def test_class_and_ids_of_a_new_vocabulary(
    name: str, tmp_path: pathlib.Path
) -> None:
    spec = FAMILIES[name].tokenizer
    (tmp_path / "text.txt").write_text("\n".join(corpus()))
    train_vocabulary(
        str(tmp_path / "text.txt"), str(tmp_path / "vocabulary"), spec, 2300
    )
    ours = load_tokenizer(str(tmp_path / "vocabulary"), spec=spec)
    theirs = save(name, ours, tmp_path / "model")
    assert type(theirs).__name__ == CLASSES.get(name, AS_IT_IS)
    # Special tokens that a text spells are text here.
    special = ours.special_tokens.all()
    texts = [
        text
        for text in difficult_lines(2000)
        if not any(token in text for token in special)
    ]
    rows = ours(texts, padding=False)["token_ids"].to_list()
    different = []
    for text, row in zip(texts, rows, strict=True):
        expected = theirs(text)["input_ids"]
        # An empty row is its padding here.
        if row != (expected or [ours.pad_id]):
            different.append(text)
    # Of unigram, `tokenizers` composes rare characters in another way, and
    # cuts runs in another order; docs/text.md counts the lines.
    is_unigram = spec.training.get("model_type") == "unigram"
    assert len(different) <= (60 if is_unigram else 0), different


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
    theirs = save("llama", ours, tmp_path)
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
