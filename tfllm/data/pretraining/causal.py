"""A stream of tokens to batches of a causal language model.

The stream is cut into rows of T + 1 tokens that overlap by one: T inputs, and
the token after each. So rows are full but for the last, and every token but
the first of the stream is predicted exactly once.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfllm.data.batched_data import BatchedData, finish, num_batches
from tfllm.data.corpus.sources import DOCUMENT_PER
from tfllm.data.epochs import Epochs
from tfllm.data.pretraining.token_stream import TokenStream, open_stream
from tfllm.data.pretraining.tokenize_files import StreamTokenizer, TextCounts

Batch = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]

_ROWS_PER_UNIT = 256


@dataclasses.dataclass(frozen=True)
class CausalDataConfig:
    """How a stream becomes batches.

    Args:
        seq_length: tokens per row, T.
        batch_size: rows per global batch, B.
        document_per: what a document is; see `open_stream`.
        isolate_documents: tokens see only their own document, and positions
            start anew in each.
        stride: tokens from one row of an evaluation to the next; None means
            `seq_length`. Smaller ones give each token more context, at least
            `seq_length - stride`, and are predicted once all the same.
        seed: seed of the order.
        units_per_group: units of 256 rows shuffled together.
    """

    seq_length: int = 128
    batch_size: int = 32
    document_per: str = "blank_line"
    isolate_documents: bool = False
    stride: int | None = None
    seed: int = 0
    units_per_group: int = 32

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("seq_length", "batch_size", "units_per_group"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. "
                    f"Received: {getattr(self, name)}."
                )
        if self.document_per not in DOCUMENT_PER:
            raise ValueError(
                f"`document_per` must be one of {', '.join(DOCUMENT_PER)}. "
                f"Received: {self.document_per!r}."
            )
        if not 1 <= self.step <= self.seq_length:
            raise ValueError(
                "`stride` must be from 1 to `seq_length`, "
                f"{self.seq_length}. Received: {self.stride}."
            )

    @property
    def step(self) -> int:
        """Tokens from one row of an evaluation to the next."""
        return self.seq_length if self.stride is None else self.stride


def open_causal_data(
    files: str,
    tokenizer: StreamTokenizer,
    config: CausalDataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> "CausalData":
    """Opens text files, or what was prepared of them.

    Args:
        files: a folder that `tools.prepare_data` wrote, or text or JSONL,
            plain or gzip: paths and globs, comma-separated.
        tokenizer: the tokenizer of the run.
        config: how they become batches.
        index_dir: where the ids are kept between runs.
        flag: name of the flag of `files`, for messages.

    Raises:
        ValueError: files are missing, empty or binary; or documents cannot
            be told apart.
    """
    if config.isolate_documents and tokenizer.eos_id is None:
        raise ValueError(
            "`isolate_documents` needs a tokenizer with an end-of-text "
            "token. Received: one without. Train one with tools.build_vocab."
        )
    stream = open_stream(files, tokenizer, config.document_per, index_dir, flag)
    return CausalData(stream, tokenizer.eos_id, config)


class CausalData(BatchedData):
    """Batches of packed rows.

    A batch is (x, y, sample_weight), each a flat dict:
        x: token_ids int32 [B, T]; position_ids and document_ids int32
           [B, T] if documents are isolated
        y: clm int32 [B, T], the token after each
        sample_weight: clm float32 [B, T], 0 where there is none

    Args:
        stream: the ids.
        eos_id: id between two documents, or None.
        config: how they become batches.
    """

    def __init__(
        self, stream: TokenStream, eos_id: int | None, config: CausalDataConfig
    ) -> None:
        """Reads nothing yet."""
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
        """How much text there is."""
        return self._stream.counts

    def _training_batches(self, start_step: int) -> tf.data.Dataset:
        """See the base class."""
        return self._batches(
            lambda: self._training_rows(start_step), self._config.batch_size
        )

    def evaluation_dataset(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> tf.data.Dataset:
        """See the base class; all tokens once, in order."""
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
        for group in self._epochs.groups(start_step):
            firsts = group.units * _ROWS_PER_UNIT
            numbers = np.concatenate(
                [
                    first + np.arange(self._epochs.counts[unit])
                    for unit, first in zip(group.units, firsts, strict=True)
                ]
            )[group.rows]
            for start in range(0, len(numbers), _ROWS_PER_UNIT):
                rows = numbers[start : start + _ROWS_PER_UNIT]
                yield self._rows(rows * length, 0)

    def _evaluation_starts(self) -> Iterator[int]:
        """Yields the first token of each row of an evaluation."""
        start, length = 0, self._config.seq_length
        while True:
            yield start
            if start + length >= len(self._stream) - 1:
                return
            start += self._config.step

    def _evaluation_rows(
        self, starts: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields rows in order; weights only for what is new in each."""
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
        """Returns tokens, -1 past the end, and weights of the labels."""
        width = self._config.seq_length + 1
        tokens = np.full((len(starts), width), -1, np.int32)
        for row, start in zip(tokens, starts, strict=True):
            ids = self._stream.read(int(start), int(start) + width)
            row[: len(ids)] = ids
        weights = (tokens[:, 1:] >= 0).astype(np.float32)
        weights[:, :seen] = 0.0
        return tokens, weights

    def _batches(self, generate: object, size: int) -> tf.data.Dataset:
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
        """Splits inputs and labels; fills up to `size` rows."""
        missing = [[0, size - tf.shape(tokens)[0]], [0, 0]]
        tokens = tf.ensure_shape(
            tf.pad(tf.maximum(tokens, 0), missing), [size, tokens.shape[1]]
        )
        weights = tf.ensure_shape(
            tf.pad(weights, missing), [size, weights.shape[1]]
        )
        x = {"token_ids": tokens[:, :-1]}
        if self._config.isolate_documents:
            x |= document_positions(x["token_ids"], self._eos_id)
        return x, {"clm": tokens[:, 1:]}, {"clm": weights}


def document_positions(
    token_ids: tf.Tensor, eos_id: int | None
) -> dict[str, tf.Tensor]:
    """Numbers the documents of each row and the positions in them.

    The token between two documents opens the second.

    Args:
        token_ids: int32 [B, T].
        eos_id: the token between two documents.

    Returns:
        document_ids and position_ids, int32 [B, T].
    """
    opens = tf.equal(token_ids, eos_id)
    numbers = tf.cumsum(tf.cast(opens, tf.int32), axis=1)
    width = tf.shape(token_ids)[1]
    columns = tf.range(width)
    # Where each document begins: its first column.
    rows = tf.range(tf.shape(token_ids)[0])[:, tf.newaxis]
    documents = rows * (width + 1) + numbers
    begins = tf.math.unsorted_segment_min(
        tf.broadcast_to(columns, tf.shape(documents)),
        documents,
        tf.size(rows) * (width + 1),
    )
    return {
        "document_ids": numbers,
        "position_ids": columns - tf.gather(begins, documents),
    }
