"""A stream of tokens to batches of a causal language model.

The stream is cut into rows of T + 1 tokens that overlap by one: T inputs, and
the token after each. All rows except the last are full, and every token except
the first is predicted exactly once.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import tensorflow as tf

from tfllm.data.batched_data import BatchedData, finish, num_batches
from tfllm.data.causal.config import CausalDataConfig
from tfllm.data.epochs import Epochs
from tfllm.data.token_stream.stream import TokenStream, open_stream
from tfllm.data.token_stream.tokenize_files import TextCounts
from tfllm.tokenizers import Tokenizer

Batch = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]

_ROWS_PER_UNIT = 256


def open_causal_data(
    files: str,
    tokenizer: Tokenizer,
    config: CausalDataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> "CausalData":
    """Opens text files or prepared shards.

    Args:
        files: Folder of prepared shards, or text or JSONL, plain or gzip:
            paths and globs, comma-separated.
        tokenizer: The tokenizer of the run.
        config: How files become batches.
        index_dir: Folder that keeps token ids between runs.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: Files are missing, empty or binary; or documents are to
            be isolated, and the tokenizer has no end-of-text token.
    """
    if config.isolate_documents and tokenizer.special.eos is None:
        raise ValueError(
            "`isolate_documents` needs a tokenizer with an end-of-text "
            "token. Received: one without. Train one with tools.build_vocab."
        )
    stream = open_stream(files, tokenizer, config.document_per, index_dir, flag)
    return CausalData(stream, tokenizer.special.eos, config)


class CausalData(BatchedData):
    """Batches of packed rows.

    A batch is (x, y, sample_weight), each a flat dict:
        x: token_ids int32 [B, T]; position_ids and document_ids int32
           [B, T] if documents are isolated
        y: clm int32 [B, T], the next token of each
        sample_weight: clm float32 [B, T], 0 without a next token

    Args:
        stream: Token ids of all documents.
        eos_id: Id between two documents, or None.
        config: How the stream becomes batches.
    """

    is_labelled: Literal[False] = False

    def __init__(
        self, stream: TokenStream, eos_id: int | None, config: CausalDataConfig
    ) -> None:
        self._stream = stream
        self._eos_id = eos_id
        self._config = config
        rows = math.ceil((len(stream) - 1) / config.seq_length)
        units, rest = divmod(rows, _ROWS_PER_UNIT)
        self._epochs = Epochs(
            [_ROWS_PER_UNIT] * units + ([rest] if rest else []),
            config.batch_size,
            config.seed,
            config.units_per_group,
        )
        super().__init__(self._epochs)

    @property
    def counts(self) -> TextCounts:
        """Tokens, words and bytes of the text."""
        return self._stream.counts

    def _training_batches(self, start_step: int) -> tf.data.Dataset:
        """Returns rows in training order; see `BatchedData.dataset`."""
        return self._batches(
            lambda: self._training_rows(start_step), self._config.batch_size
        )

    def evaluation_dataset(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> tf.data.Dataset:
        """Returns all tokens once, in order; see `BatchedData`."""
        size = batch_size or self._config.batch_size
        starts = list(self._evaluation_starts())
        steps = num_batches(len(starts), size, max_steps)
        batches = self._batches(lambda: self._evaluation_rows(starts), size)
        return finish(batches.take(steps), steps)

    def _training_rows(
        self, start_step: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (tokens [N, T + 1], weights [N, T]) in training order."""
        length = self._config.seq_length
        numbers = self._epochs.row_numbers(start_step, _ROWS_PER_UNIT)
        for rows, _ in numbers:
            yield self._rows(rows * length, 0)

    def _evaluation_starts(self) -> Iterator[int]:
        """Yields the place of the first token of each evaluation row."""
        start, length = 0, self._config.seq_length
        while True:
            yield start
            if start + length >= len(self._stream) - 1:
                return
            start += self._config.step

    def _evaluation_rows(
        self, starts: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields rows in order; only tokens new in a row have weight."""
        seen = self._config.seq_length - self._config.step
        for i in range(0, len(starts), _ROWS_PER_UNIT):
            tokens, weights = self._rows(
                np.array(starts[i : i + _ROWS_PER_UNIT]), seen
            )
            if i == 0 and seen:
                weights[0, :seen] = tokens[0, 1 : seen + 1] >= 0
            yield tokens, weights

    def _rows(
        self, starts: np.ndarray, seen: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows of the stream.

        Args:
            starts: int64 [N], place of the first token of each row.
            seen: Number of labels at the start of a row with weight 0.

        Returns:
            int32 [N, T + 1] tokens, -1 past the end of the stream; float32
            [N, T] weights of the labels.
        """
        width = self._config.seq_length + 1
        tokens = np.full((len(starts), width), -1, np.int32)
        for row, start in zip(tokens, starts, strict=True):
            ids = self._stream.read(int(start), int(start) + width)
            row[: len(ids)] = ids
        weights = (tokens[:, 1:] >= 0).astype(np.float32)
        weights[:, :seen] = 0.0
        return tokens, weights

    def _batches(
        self,
        generate: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]],
        size: int,
    ) -> tf.data.Dataset:
        """Cuts generated rows into batches of `size` rows."""
        length = self._config.seq_length
        rows = tf.data.Dataset.from_generator(
            generate,
            output_signature=(
                tf.TensorSpec([None, length + 1], tf.int32),
                tf.TensorSpec([None, length], tf.float32),
            ),
        )
        return rows.rebatch(size).map(
            lambda tokens, weights: self._to_batch(tokens, weights, size),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def _to_batch(
        self, tokens: tf.Tensor, weights: tf.Tensor, size: int
    ) -> Batch:
        """Splits inputs and labels [B, T]; fills up to `size` rows."""
        missing = [[0, size - tf.shape(tokens)[0]], [0, 0]]
        tokens = tf.ensure_shape(
            tf.pad(tf.maximum(tokens, 0), missing), [size, tokens.shape[1]]
        )  # [B, T + 1]
        weights = tf.ensure_shape(
            tf.pad(weights, missing), [size, weights.shape[1]]
        )  # [B, T]
        x = {"token_ids": tokens[:, :-1]}
        if self._config.isolate_documents:
            x |= document_positions(x["token_ids"], self._eos_id)
        return x, {"clm": tokens[:, 1:]}, {"clm": weights}


def document_positions(
    token_ids: tf.Tensor, eos_id: int | None
) -> dict[str, tf.Tensor]:
    """Returns ids of documents in rows, and positions that restart in each.

    The token between two documents belongs to the second.

    Args:
        token_ids: int32 [B, T].
        eos_id: Id of the token between two documents.

    Returns:
        document_ids and position_ids, int32 [B, T].
    """
    opens = tf.equal(token_ids, eos_id)
    numbers = tf.cumsum(tf.cast(opens, tf.int32), axis=1)  # [B, T]
    width = tf.shape(token_ids)[1]
    columns = tf.range(width)
    # The first column of each document; documents are numbered over all rows.
    rows = tf.range(tf.shape(token_ids)[0])[:, tf.newaxis]  # [B, 1]
    documents = rows * (width + 1) + numbers  # [B, T]
    begins = tf.math.unsorted_segment_min(
        tf.broadcast_to(columns, tf.shape(documents)),
        documents,
        tf.size(rows) * (width + 1),
    )  # [B * (T + 1)]
    return {
        "document_ids": numbers,
        "position_ids": columns - tf.gather(begins, documents),
    }
