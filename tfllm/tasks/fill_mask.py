"""Texts with masks to the likeliest tokens: a tokenizer around MaskedLM."""

from typing import Any

import tensorflow as tf

from tfllm.data.packing import pack_inputs
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.tokenizers import WordPieceTokenizer

MASK = "[MASK]"


class FillMask:
    """Most probable tokens for each [MASK].

    Args:
        task: A masked-language-model task.
        tokenizer: Its tokenizer, with [MASK] recognised in text.
        top_k: Candidates per [MASK].
    """

    def __init__(
        self, task: MaskedLM, tokenizer: WordPieceTokenizer, top_k: int = 5
    ) -> None:
        """See the class."""
        self.task = task
        self.tokenizer = tokenizer
        self.top_k = min(top_k, tokenizer.vocab_size)
        self._probabilities = tf.function(
            self._forward,
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def __call__(self, texts: list[str]) -> list[list[list[dict[str, Any]]]]:
        """Returns the candidates: by text, by [MASK], best first.

        Raises:
            ValueError: A text has no [MASK], or it lies behind the longest
                sequence of the model.
        """
        for text in texts:
            if MASK not in text:
                raise ValueError(
                    f"a text needs at least one {MASK}. Received: {text!r}"
                )
        ids, probabilities, rows = (
            part.numpy() for part in self._probabilities(tf.constant(texts))
        )
        found: list[list[list[dict[str, Any]]]] = [[] for _ in texts]
        for row, slot_ids, slot in zip(rows, ids, probabilities, strict=True):
            found[row].append(
                [
                    {
                        "token": self.tokenizer.id_to_token(int(token_id)),
                        "token_id": int(token_id),
                        "score": float(score),
                    }
                    for token_id, score in zip(slot_ids, slot, strict=True)
                ]
            )
        for text, slots in zip(texts, found, strict=True):
            if len(slots) != text.count(MASK):
                raise ValueError(
                    "a text is longer than the model's "
                    f"{self.task.config.max_length} tokens. Received: "
                    f"{text[:80]!r}..."
                )
        return found

    def _forward(self, texts: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns top ids, their probabilities and their rows, per mask."""
        length = self.task.config.max_length
        assert length is not None
        inputs = pack_inputs(
            [self.tokenizer.tokenize(texts)],
            length,
            self.tokenizer.cls_id,
            self.tokenizer.sep_id,
            self.tokenizer.pad_id,
            pad_to_longest=True,
        )
        where = tf.where(inputs["token_ids"] == self.tokenizer.mask_id)
        logits = self.task(inputs, training=False)["mlm"]
        top = tf.math.top_k(
            tf.nn.softmax(tf.gather_nd(logits, where)), k=self.top_k
        )
        return top.indices, top.values, where[:, 0]
