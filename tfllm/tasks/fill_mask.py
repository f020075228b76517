"""Fill-mask: texts with masks in, the most probable tokens out."""

from typing import Any

import tensorflow as tf

from tfllm.tasks.contract import TaskContract
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.rows import padded, rows_of
from tfllm.tokenizers.text_input import as_strings


class FillMask:
    """Finds the most probable tokens for each mask in a text.

    Args:
        task: Task that fills masks.
        tokenizer: Its tokenizer, loaded with `mask_in_text`, see
            `load_tokenizer`.
        top_k: Number of candidates per mask, at most the size of the
            vocabulary.
    """

    def __init__(
        self, task: TaskContract, tokenizer: Tokenizer, top_k: int = 5
    ) -> None:
        self.task = task
        self.tokenizer = tokenizer
        self.top_k = min(top_k, tokenizer.vocab_size)
        self._probabilities = tf.function(
            self._forward,
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def __call__(self, texts: list[str]) -> list[list[list[dict[str, Any]]]]:
        """Returns the candidates by text and mask, best first.

        Args:
            texts: Texts with at least one mask each.

        Returns:
            For each text and mask, dicts of `token`, `token_id`, `score`.

        Raises:
            ValueError: A text has no mask, is longer than the model's longest
                sequence, or holds half of a surrogate pair.
        """
        ids, probabilities, rows, counts = (
            part.numpy() for part in self._probabilities(as_strings(texts))
        )
        by_text: list[list[list[dict[str, Any]]]] = [[] for _ in texts]
        for row, mask_ids, scores in zip(rows, ids, probabilities, strict=True):
            by_text[row].append(
                [
                    {
                        "token": self.tokenizer.token_text(int(token_id)),
                        "token_id": int(token_id),
                        "score": float(score),
                    }
                    for token_id, score in zip(mask_ids, scores, strict=True)
                ]
            )
        for text, masks, count in zip(texts, by_text, counts, strict=True):
            if not count:
                raise ValueError(
                    "a text needs at least one "
                    f"{self.tokenizer.special_tokens.mask}. Received: {text!r}"
                )
            if len(masks) != count:
                raise ValueError(
                    "a text is longer than the model's "
                    f"{self.task.config.max_length} tokens. Received: "
                    f"{text[:80]!r}..."
                )
        return by_text

    def _forward(self, texts: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Computes the candidates of all masks.

        Args:
            texts: string [B].

        Returns:
            For M masks: ids int32 [M, k], probabilities float32 [M, k], rows
            of the masks int64 [M]; and the number of masks in each text,
            int32 [B], which counts masks that were cut.
        """
        layout = self.tokenizer.row_template
        ids = self.tokenizer.tokenize(texts)
        rows = rows_of([ids], layout, self.task.config.max_length)
        inputs = padded(rows, layout, None)
        mask_id = self.tokenizer.role_id("mask")
        where = tf.where(inputs["token_ids"] == mask_id)  # [M, 2]
        inputs = self.task.with_masks(inputs, mask_id)
        outputs = self.task(inputs, training=False)
        logits = outputs[self.task.objectives[0]]  # [B, T, V]
        # The table may have more rows than there are tokens: [M, tokens]
        logits = tf.gather_nd(logits, where)[:, : self.tokenizer.vocab_size]
        top = tf.math.top_k(tf.nn.softmax(logits), k=self.top_k)
        is_mask = tf.cast(ids == self.tokenizer.special.mask, tf.int32)
        counts = tf.reduce_sum(is_mask, axis=1)  # [B]
        return top.indices, top.values, where[:, 0], counts
