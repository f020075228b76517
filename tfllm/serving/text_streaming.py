"""A generation in small steps, for servers that stream it."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfllm.generation import GenerationConfig
from tfllm.generation.decode import RUNNING, Steps
from tfllm.serving import continuation, windows
from tfllm.serving.served_task import (
    Arrays,
    Check,
    ServedFunction,
    Tensors,
    as_strings,
    strings,
)
from tfllm.tokenizers import ByteBPETokenizer

if TYPE_CHECKING:
    from tfllm.serving.text_generation import TextGenerationServing

STREAM = "stream"
# Each call reads the prompt anew: fewer tokens come sooner and cost more.
TOKENS_PER_CALL = 4
OUTPUTS = {
    "token_ids": f"int32 [B, {TOKENS_PER_CALL}]: the next tokens, and padding",
    "lengths": "int32 [B]: tokens that are new",
    "text_bytes": f"string [B, {TOKENS_PER_CALL}]: the bytes of each; "
    "characters may be cut",
    "finished": "bool [B]: nothing comes after them",
}
# What counts from the end of the prompt, which a later call cannot tell.
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
    """Whether calls that know only the tokens so far choose the same ones."""
    defaults = {f.name: f.default for f in dataclasses.fields(config)}
    return all(getattr(config, n) == defaults[n] for n in FROM_PROMPT)


def so_far(rows: Sequence[Sequence[int]]) -> Arrays:
    """Returns the inputs of a call that say what was generated before."""
    width = max(map(len, rows), default=0)
    ids = np.zeros((len(rows), width), np.int32)
    for row, found in zip(rows, ids, strict=True):
        found[: len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    return {"so_far": ids, "lengths": lengths}


def shown_bytes(tokenizer: ByteBPETokenizer) -> list[bytes]:
    """Returns the bytes of each token, none for the special ones."""
    special = tokenizer.special_ids
    return [
        b"" if i in special else content
        for i, content in enumerate(tokenizer.token_bytes)
    ]


class TextStreaming:
    """The signature "stream": a few tokens more, greedily.

    It keeps no state, so that any server can answer any call. Together the
    calls give what the default signature gives at once.

    Args:
        serving: The generator.
    """

    def __init__(self, serving: "TextGenerationServing") -> None:
        """See the class."""
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
            so_far: int32 [B, T], what was generated before.
            lengths: int32 [B], how much of it is real.
        """
        serving = self._serving
        most = serving.max_new_tokens
        before = windows.unpad(so_far[:, :most], lengths)
        ids = tf.concat(
            [serving.prompts(serving.tokenizer.tokenize(text)), before], axis=1
        )
        steps = Steps(
            serving.task.model,
            serving.greedy.replace(max_new_tokens=TOKENS_PER_CALL),
            TOKENS_PER_CALL,
            serving.tokenizer.token_bytes,
        )
        state, tokens = continuation.continued(ids, steps, serving.length)
        left = most - tf.cast(before.row_lengths(), tf.int32)
        count = tf.minimum(state.lengths, left)
        real = tf.sequence_mask(count, TOKENS_PER_CALL)
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
        """Returns calls in the middle of what was generated at once."""
        whole = [row["token_ids"].tolist() for row in expected]
        found = []
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
            found.append(Check(STREAM, inputs, rows))
        return found
