"""Folders of small models with random weights, one for each kind of task."""

import pathlib
from typing import Any

import keras
import pytest

from tests import verbs
from tfllm import tasks
from tfllm.data.vocabularies import byte_bpe
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.tokenizers import ByteBPETokenizer, WordPieceTokenizer

LABELS = ("ham", "spam", "eggs")
TAGS = ("O", "B-X", "I-X")
TEXTS = ["baba kiki lolo, dede.", "susu tata"]
FOLDERS: dict[str, dict[str, Any]] = {
    "classification": {"labels": LABELS},
    "multi_label": {"labels": LABELS},
    "regression": {},
    "tagging": {"labels": TAGS},
    "question_answering": {},
    "multiple_choice": {},
    "embedding": {},
    "masked_lm": {"pair_objective": "none"},
}


def write(root: pathlib.Path) -> None:
    """Writes a folder named after each kind of task, and `gpt2_tagging`."""
    (root / "vocab.txt").write_text("\n".join(verbs.vocabulary()) + "\n")
    tokenizer = WordPieceTokenizer.from_file(str(root / "vocab.txt"))
    config = FAMILIES["bert"].config(
        num_layers=1,
        hidden_size=16,
        num_heads=2,
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=32,
    )
    for name, settings in FOLDERS.items():
        keras.utils.set_random_seed(5)
        task = tasks.create(
            name, config.with_initializer_range(0.5), **settings
        )
        model_folder.save(task, root / name, tokenizer)
    write_decoders(root)


def write_decoders(root: pathlib.Path) -> None:
    """Writes folders of GPT-2: `causal_lm` and `gpt2_tagging`."""
    (root / "text.txt").write_text(verbs.text(20) + "\n")
    tokenizer: ByteBPETokenizer = byte_bpe.train(
        str(root / "text.txt"),
        str(root / "bytes"),
        byte_bpe.ByteBPETrainingConfig(vocab_size=270),
    )
    config = FAMILIES["gpt2"].config(
        num_layers=1,
        hidden_size=16,
        num_heads=2,
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=64,
        initializer_range=0.5,
        **tokenizer.model_ids,
    )
    for folder, name, settings in (
        ("causal_lm", "causal_lm", {}),
        ("gpt2_tagging", "tagging", {"labels": TAGS}),
    ):
        keras.utils.set_random_seed(5)
        task = tasks.create(name, config, **settings)  # type: ignore[arg-type]
        model_folder.save(task, root / folder, tokenizer)


def equal(ours: Any, theirs: Any) -> None:
    """Asserts equal results, numbers within 1e-5."""
    if isinstance(ours, list):
        assert isinstance(theirs, list)
        for one, other in zip(ours, theirs, strict=True):
            equal(one, other)
    elif isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for key in ours:
            equal(ours[key], theirs[key])
    elif isinstance(ours, float):
        assert ours == pytest.approx(float(theirs), abs=1e-5)
    else:
        assert ours == theirs
