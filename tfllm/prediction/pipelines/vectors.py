"""The pipeline for feature extraction: hidden states of a model."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfllm.layers.pooling import last_token, mean_of_tokens, unit_length
from tfllm.prediction.pipelines.base import (
    Pipeline,
    Result,
    Step,
    check_choice,
)
from tfllm.prediction.pipelines.inputs import text_of
from tfllm.tasks import Embedding

POOLINGS = ("mean", "cls", "last")


class FeatureExtraction(Pipeline):
    """Features of texts: last hidden states of tokens, or one vector each.

    Arguments as in `Pipeline`.
    """

    name = "feature-extraction"
    # The model without its head.
    read_as = Embedding.kind

    def step(
        self,
        pooling: str | None = None,
        normalize: bool = False,
        return_tensors: bool = False,
        truncation: bool = False,
    ) -> Step:
        """Returns the functions that turn texts into vectors.

        The result of a text is nested lists [1, T, D], with the vectors of
        all tokens, special ones included; with `pooling` a list of D floats.

        Args:
            pooling: "mean" of the tokens, "cls" (the first token) or "last";
                None: all tokens.
            normalize: With `pooling`: scale vectors to unit length.
            return_tensors: Return float32 tensors instead of lists.
            truncation: Cut texts that are longer than the model reads.

        Raises:
            ValueError: An option has a wrong value. Texts that are too long
                raise it later.
        """
        check_choice("pooling", pooling, (None, *POOLINGS))
        if normalize and pooling is None:
            raise ValueError(
                "`normalize` goes with `pooling`. Received: it alone. Give "
                f"one of {list(POOLINGS)}."
            )

        def read(value: Any, where: str) -> list[int]:
            return self._row(text_of(value, where), where, truncation)

        def answer(rows: list[list[int]]) -> Iterator[Result]:
            ids = tf.ragged.constant(rows, tf.int32)  # [B, (T)]
            mask = tf.ones_like(ids).to_tensor()
            states = self.task.model.transformer(
                ids.to_tensor(), padding_mask=mask, training=False
            )  # [B, T, D]
            if pooling is None:
                vectors = [
                    states[i, tf.newaxis, : len(row)]  # [1, T, D]
                    for i, row in enumerate(rows)
                ]
            else:
                vectors = tf.unstack(_pooled(states, mask, pooling, normalize))
            for vector in vectors:
                vector = tf.cast(vector, tf.float32)
                yield vector if return_tensors else vector.numpy().tolist()

        return Step(read, answer)

    def _row(self, text: str, where: str, truncation: bool) -> list[int]:
        """Returns the ids of a text with its special tokens."""
        template = self.tokenizer.row_template
        (ids,) = self.tokenizer.tokenize(
            tf.constant([text.encode("utf-8", errors="replace")])
        ).to_list()
        longest = self.task.config.max_length
        if longest is not None:
            room = longest - template.num_special(1)
            if len(ids) > room and not truncation:
                raise ValueError(
                    f"`inputs` must have at most the {room} tokens that the "
                    f"model reads. Received: {len(ids)} in {where}. Give "
                    "`truncation=True` to cut them."
                )
            ids = ids[:room]
        # An empty row gets a padding token.
        return [*template.opens, *ids, *template.closes] or [template.pad]


def _pooled(
    states: tf.Tensor, mask: tf.Tensor, pooling: str, normalize: bool
) -> tf.Tensor:
    """Pools states [B, T, D] with a mask int32 [B, T] to float32 [B, D]."""
    if pooling == "cls":
        pooled = states[:, 0]
    elif pooling == "last":
        pooled = last_token(states, mask)
    else:
        pooled = mean_of_tokens(states, mask)
    pooled = tf.cast(pooled, tf.float32)
    return unit_length(pooled) if normalize else pooled
