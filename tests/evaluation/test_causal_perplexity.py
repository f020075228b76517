"""Perplexity of a text against sums over its tokens, made here."""

import math
import pathlib

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from tfllm.data.vocabularies import byte_bpe
from tfllm.evaluate import run
from tfllm.models import FAMILIES
from tfllm.runs.run_config import RunConfig
from tfllm.tasks import CausalLM
from tfllm.tokenizers import load_tokenizer

TEXT = "A line of words.\n\nZoë said: no, and\tyes.\nThe end came soon."
LENGTH = 16


@pytest.mark.parametrize("stride", [LENGTH, 5])
def test_per_token_word_and_byte(tmp_path: pathlib.Path, stride: int) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT + "\n", encoding="utf-8")
    byte_bpe.train(
        str(path),
        str(tmp_path / "bytes"),
        byte_bpe.ByteBPETrainingConfig(vocab_size=257),
    )
    tokenizer = load_tokenizer(str(tmp_path / "bytes"))
    keras.utils.set_random_seed(0)
    config = FAMILIES["gpt2"].config(
        num_layers=1,
        hidden_size=16,
        num_heads=2,
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=LENGTH,
    )
    task = CausalLM(config.with_initializer_range(0.3))
    task.compile("sgd")
    found = run(
        RunConfig.of(
            task="causal_lm",
            eval_files=str(path),
            document_per="file",
            seq_length=LENGTH,
            batch_size=2,
            eval_stride=stride,
        ),
        task,
        tokenizer,
    )
    ids = tokenizer.tokenize([TEXT])[0].numpy().tolist()
    assert len(ids) == len(TEXT.encode())
    total, known = 0.0, 1
    for start in range(0, len(ids), stride):
        row = np.array([ids[start : start + LENGTH]])
        logs = log_softmax(task({"token_ids": row})["clm"].numpy()[0], axis=-1)
        end = min(start + LENGTH + 1, len(ids))
        for place in range(known, end):
            total -= logs[place - 1 - start, ids[place]]
        known = max(known, end)
    assert known == len(ids)
    per_token = total / (len(ids) - 1)
    per_byte = total / len(TEXT.encode())
    assert found["clm_loss"] == pytest.approx(per_token, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(per_token), rel=1e-4)
    assert found["bits_per_byte"] == pytest.approx(
        per_byte / math.log(2.0), rel=1e-5
    )
    assert found["byte_perplexity"] == pytest.approx(
        math.exp(per_byte), rel=1e-4
    )
    words = len(TEXT.split())
    assert math.log(found["word_perplexity"]) == pytest.approx(
        total / words, rel=1e-5
    )
