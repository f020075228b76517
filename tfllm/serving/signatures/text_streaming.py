"""Signature that generates a few tokens at a time, for streaming servers."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfllm.generation import GenerationConfig
from tfllm.generation.decode import RUNNING, Steps
from tfllm.serving.graph import continuation, windows
from tfllm.serving.signatures.served_task import (
    Arrays,
    Check,
    ServedFunction,
    Tensors,
    as_strings,
    strings,
)
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer

STREAM = "stream"
# Each call reads the prompt again: fewer tokens per call come sooner, but cost
# more in total.
TOKENS_PER_CALL = 4
OUTPUTS = {
    "token_ids": f"int32 [B, {TOKENS_PER_CALL}]: the next ids, then padding",
    "lengths": "int32 [B]: number of new tokens",
    "text_bytes": f"string [B, {TOKENS_PER_CALL}]: the bytes of each token; "
    "may split a character",
    "finished": "bool [B]: whether these tokens are the last",
}
# Settings that count from the end of the prompt, which later calls do not know.
FROM_PROMPT = (
    "min_new_tokens",
    "presence_penalty",
    "frequency_penalty",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "stop_strings",
)


def can_stream(config: GenerationConfig) -> bool:
    """Whether calls with only the tokens so far give the same text."""
    defaults = {f.name: f.default for f in dataclasses.fields(config)}
    return all(getattr(config, n) == defaults[n] for n in FROM_PROMPT)


def so_far(rows: Sequence[Sequence[int]]) -> Arrays:
    """Returns the inputs `so_far` and `lengths` for tokens so far."""
    width = max(map(len, rows), default=0)
    ids = np.zeros((len(rows), width), np.int32)
    for row, padded in zip(rows, ids, strict=True):
        padded[: len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    return {"so_far": ids, "lengths": lengths}


def shown_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """Returns the bytes of each token; empty for special tokens."""
    special = tokenizer.special_ids
    return [
        b"" if i in special else content
        for i, content in enumerate(tokenizer.token_bytes)
    ]


class Generator(Protocol):
    """What streaming needs of `TextGenerationServing`.

    Attributes:
        task: The language model.
        tokenizer: Tokenizer of the model.
        greedy: Config of greedy generation.
        max_new_tokens: Most tokens of a whole generation.
        length: Longest sequence of the model.
    """

    task: Task
    tokenizer: Tokenizer
    greedy: GenerationConfig
    max_new_tokens: int
    length: int

    def prompts(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Returns the ids of prompts as the model reads them."""


class TextStreaming:
    """Signature "stream": greedily generates a few more tokens.

    It keeps no state, so that any server can answer any call. The calls
    together give the text that the default signature gives at once.

    Args:
        serving: Signatures of the model.
    """

    def __init__(self, serving: Generator) -> None:
        self._serving = serving
        self._shown = shown_bytes(serving.tokenizer)
        inputs = {
            **strings("text"),
            "so_far": tf.TensorSpec([None, None], tf.int32, "so_far"),
            "lengths": tf.TensorSpec([None], tf.int32, "lengths"),
        }
        self.function = ServedFunction(self.call, inputs, OUTPUTS)

    def call(
        self, text: tf.Tensor, so_far: tf.Tensor, lengths: tf.Tensor
    ) -> Tensors:
        """Continues texts.

        Args:
            text: string [B], the prompts.
            so_far: int32 [B, T], tokens of earlier calls.
            lengths: int32 [B], number of real tokens in `so_far`.
        """
        serving = self._serving
        max_new_tokens = serving.max_new_tokens
        before = windows.unpad(so_far[:, :max_new_tokens], lengths)
        ids = tf.concat(
            [serving.prompts(serving.tokenizer.prompts(text)), before], axis=1
        )
        steps = Steps(
            serving.task.model,
            serving.greedy.replace(max_new_tokens=TOKENS_PER_CALL),
            TOKENS_PER_CALL,
            serving.tokenizer.token_bytes,
        )
        state, tokens = continuation.continued(ids, steps, serving.length)
        left = max_new_tokens - tf.cast(before.row_lengths(), tf.int32)
        count = tf.minimum(state.lengths, left)
        real = tf.sequence_mask(count, TOKENS_PER_CALL)  # [B] -> [B, N]
        tokens = tf.where(real, tokens, steps.config.pad_id)
        spelled = tf.gather(tf.constant(self._shown), tokens)
        ended = (state.finished != RUNNING) & (state.lengths <= left)
        return {
            "token_ids": tokens,
            "lengths": count,
            "text_bytes": tf.where(real, spelled, ""),
            "finished": ended | (count >= left),
        }

    def checks(
        self, texts: Sequence[bytes], expected: Sequence[Arrays]
    ) -> list[Check]:
        """Returns calls at the beginning and in the middle of generations.

        Args:
            texts: Prompts.
            expected: Answers of the default signature to the prompts.
        """
        whole = [row["token_ids"].tolist() for row in expected]
        checks = []
        for share in (0.0, 0.5):
            before = [ids[: int(share * (len(ids) - 1))] for ids in whole]
            rows = []
            for ids, known in zip(whole, before, strict=True):
                new = ids[len(known) :][:TOKENS_PER_CALL]
                text = np.array([self._shown[i] for i in new], object)
                rows.append(
                    {
                        "token_ids": np.array(new, np.int32),
                        "lengths": np.array(len(new), np.int32),
                        "text_bytes": text,
                        "finished": np.array(len(known) + len(new) == len(ids)),
                    }
                )
            inputs = {"text": as_strings(list(texts)), **so_far(before)}
            checks.append(Check(STREAM, inputs, rows))
        return checks
