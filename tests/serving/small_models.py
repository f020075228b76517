"""Model folders of a few thousand weights, for exports."""

import dataclasses
import functools
import inspect
import pathlib
import random
import tempfile
from typing import Any

import keras
import numpy as np

from tests import conftest
from tfllm import tasks
from tfllm.data.vocabularies.train import train
from tfllm.generation import GenerationConfig
from tfllm.generation.config import GENERATION_CONFIG_FILE
from tfllm.interop import model_folder
from tfllm.layers.pooling import ProjectionConfig
from tfllm.models import FAMILIES
from tfllm.tasks import CausalLM, Embedding, MaskedLM
from tfllm.tasks.embedding import EmbeddedText
from tfllm.tokenizers import (
    ByteBPETokenizer,
    SpecialTokens,
    WordPieceTokenizer,
    load_tokenizer,
)
from tfllm.tokenizers.byte_pair import END_OF_TEXT
from tfllm.tokenizers.byte_pair_model import byte_symbols

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["the", "was", "best", "worst", "of", "times", "it", "自", "然", "dog"]
LENGTH = 32


def wordpiece() -> WordPieceTokenizer:
    pieces = [*LETTERS, ".", ",", *(f"##{letter}" for letter in LETTERS)]
    return WordPieceTokenizer([*SPECIALS, *pieces, *WORDS])


def byte_bpe() -> ByteBPETokenizer:
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("w", "a")]
    vocab = [*byte_symbols(), *(a + b for a, b in merges), END_OF_TEXT]
    return ByteBPETokenizer(
        vocab,
        merges,
        special_tokens=SpecialTokens(bos=END_OF_TEXT, eos=END_OF_TEXT),
    )


def shake(task: Any, spread: float = 0.3) -> None:
    """Gives weights of a size at which answers differ."""
    rng = np.random.default_rng(0)
    for weight in task.weights:
        value = np.asarray(weight.value)
        weight.assign(value + rng.normal(0.0, spread, value.shape))


def config_of(family: str, tokenizer: Any) -> Any:
    create = FAMILIES[family].config
    lengths = {"max_position_embeddings": LENGTH}
    config = create(
        num_layers=1,
        hidden_size=32,
        num_heads=2,
        vocab_size=tokenizer.vocab_size,
        # Families with a relative bias have no longest sequence.
        **{
            k: lengths[k]
            for k in inspect.signature(create).parameters.keys() & lengths
        },
    )
    return dataclasses.replace(config, **tokenizer.model_ids)


def new_folder() -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(prefix="tfllm_small_"))


@functools.cache
def masked_lm() -> str:
    """Returns a folder with a masked language model."""
    folder, tokenizer = new_folder(), wordpiece()
    keras.utils.set_random_seed(0)
    task = MaskedLM(config_of("bert", tokenizer))
    shake(task)
    model_folder.save(task, folder, tokenizer)
    return str(folder)


@functools.cache
def causal_lm(surplus: int = 0, **options: Any) -> str:
    """Returns a folder with a causal language model.

    Args:
        surplus: Ids that it has more than its tokenizer.
        **options: Fields of GenerationConfig.
    """
    folder, tokenizer = new_folder(), byte_bpe()
    keras.utils.set_random_seed(0)
    config = config_of("gpt2", tokenizer)
    task = CausalLM(config.with_vocab_size(config.vocab_size + surplus))
    shake(task, 0.2)
    model_folder.save(task, folder, tokenizer)
    config = GenerationConfig.from_published(tokenizer.model_ids)
    (folder / GENERATION_CONFIG_FILE).write_text(
        config.replace(**options).to_json()
    )
    return str(folder)


def of_family(
    folder: pathlib.Path, family: str, kind: str, **settings: Any
) -> str:
    """Returns a model folder of a task, with a vocabulary of its family."""
    rng = random.Random(0)
    text = folder / "text.txt"
    lines = [" ".join(rng.choices(conftest.WORDS, k=12)) for _ in range(200)]
    text.write_text("\n".join(lines))
    spec = FAMILIES[family].tokenizer
    train(str(text), str(folder / "tokenizer"), spec, vocab_size=330)
    tokenizer = load_tokenizer(str(folder / "tokenizer"), spec=spec)
    keras.utils.set_random_seed(0)
    task = tasks.create(kind, config_of(family, tokenizer), **settings)
    shake(task, 0.2)
    model_folder.save(task, folder / "model", tokenizer)
    if task.generates:
        config = GenerationConfig.from_published(tokenizer.model_ids)
        path = folder / "model" / GENERATION_CONFIG_FILE
        path.write_text(config.to_json())
    return str(folder / "model")


LABELS = ("bad", "good", "so-so")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@functools.cache
def labelled(kind: str, family: str = "bert", **settings: Any) -> str:
    """Returns a folder with a task of labelled data."""
    folder = new_folder()
    tokenizer = wordpiece() if family == "bert" else byte_bpe()
    if kind in ("classification", "multi_label"):
        settings = {"labels": LABELS, **settings}
    elif kind == "tagging":
        settings = {"labels": TAGS, **settings}
    keras.utils.set_random_seed(0)
    task = tasks.create(kind, config_of(family, tokenizer), **settings)
    shake(task)
    model_folder.save(task, folder, tokenizer)
    return str(folder)


@functools.cache
def projecting() -> str:
    """Returns a folder that embeds texts behind a prompt, in 5 numbers."""
    folder, tokenizer = new_folder(), wordpiece()
    keras.utils.set_random_seed(0)
    task = Embedding(
        config_of("bert", tokenizer),
        pooling=("mean", "max"),
        projections=(ProjectionConfig(64, 5),),
        text=EmbeddedText(prompts={"query": "dog "}, default_prompt="query"),
    )
    shake(task)
    model_folder.save(task, folder, tokenizer)
    return str(folder)
