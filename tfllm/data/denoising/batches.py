"""A stream of tokens to batches of denoising.

The stream is cut into rows of L tokens; the last row ends where the stream
does, and may repeat tokens of the one before it. Each row becomes a noisy
source and a target, anew in every epoch.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import tensorflow as tf

from tfllm import stateless
from tfllm.data.batched_data import BatchedData, finish, num_batches
from tfllm.data.denoising.config import DenoisingDataConfig
from tfllm.data.denoising.noise import EMPTY, Noise
from tfllm.data.denoising.span_corruption import SpanCorruption, sentinel_ids
from tfllm.data.denoising.text_infilling import TextInfilling
from tfllm.data.epochs import Epochs
from tfllm.data.token_stream.stream import TokenStream, open_stream
from tfllm.tokenizers import Tokenizer

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
Batch = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]

_ROWS_PER_UNIT = 256
_EVALUATION_EPOCH = 0  # epoch of the noise in evaluations
_FULL_STOPS = (b".", b"!", b"?", "。".encode())


def open_denoising_data(
    files: str,
    tokenizer: Tokenizer,
    config: DenoisingDataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> "DenoisingData":
    """Opens text files or prepared shards.

    Args:
        files: Folder of prepared shards, or text or JSONL, plain or gzip:
            paths and globs, comma-separated.
        tokenizer: The tokenizer of the run.
        config: How files become batches.
        index_dir: Folder that keeps token ids between runs.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: Files are missing, empty, binary or shorter than a row; or
            the tokenizer has no token for the noise.
    """
    noise = create_noise(tokenizer, config)
    stream = open_stream(files, tokenizer, config.document_per, index_dir, flag)
    if len(stream) < noise.num_tokens:
        raise ValueError(
            f"`{flag}` must hold at least the {noise.num_tokens} tokens of a "
            f"row. Received: {len(stream)} in {files}. Lower `seq_length` or "
            "give more text."
        )
    return DenoisingData(stream, tokenizer, config, noise)


def create_noise(tokenizer: Tokenizer, config: DenoisingDataConfig) -> Noise:
    """Returns the noise of a config.

    Raises:
        ValueError: The tokenizer has no mask or too few sentinels.
    """
    room = config.seq_length - tokenizer.row_template.num_special(1)
    if config.noise.denoising == "span_corruption":
        sentinels = sentinel_ids(tokenizer.vocab)
        return SpanCorruption(config.noise, sentinels, room)
    return TextInfilling(
        config.noise,
        tokenizer.special.mask,
        ends_sentence(tokenizer),
        room,
    )


def ends_sentence(tokenizer: Tokenizer) -> np.ndarray:
    """Returns whether a sentence ends with each token, bool [V]."""
    is_end = np.array(
        [token.endswith(_FULL_STOPS) for token in tokenizer.token_bytes]
    )
    if tokenizer.special.eos is not None:
        is_end[tokenizer.special.eos] = True
    return is_end


class DenoisingData(BatchedData):
    """Batches of noisy sources and their targets.

    A batch is (x, y, sample_weight), each a flat dict:
        x: source_ids, source_mask int32 [B, S]; token_ids, padding_mask int32
           [B, T], the input of the decoder
        y: seq2seq int32 [B, T], the next token of each
        sample_weight: seq2seq float32 [B, T], 0 in rows that fill up a batch

    Args:
        stream: Token ids of all documents.
        tokenizer: The tokenizer of the run.
        config: How the stream becomes batches.
        noise: The noise of the config.

    Raises:
        ValueError: The config has no `decoder_start_token_id`.
    """

    is_labelled: Literal[False] = False

    def __init__(
        self,
        stream: TokenStream,
        tokenizer: Tokenizer,
        config: DenoisingDataConfig,
        noise: Noise,
    ) -> None:
        if config.decoder_start_token_id is None:
            raise ValueError(
                "`decoder_start_token_id` must be that of the model. Received: "
                "None. Take it from the model's config."
            )
        self._stream = stream
        self._template = tokenizer.row_template
        self._config = config
        self._noise = noise
        rows = -(-len(stream) // noise.num_tokens)
        units, rest = divmod(rows, _ROWS_PER_UNIT)
        self._epochs = Epochs(
            [_ROWS_PER_UNIT] * units + ([rest] if rest else []),
            config.batch_size,
            config.seed,
            config.units_per_group,
        )
        super().__init__(self._epochs)

    def _training_batches(self, start_step: int) -> tf.data.Dataset:
        """Returns noisy rows in training order; see `BatchedData.dataset`."""

        def rows() -> Iterator[Rows]:
            numbers = self._epochs.row_numbers(start_step, _ROWS_PER_UNIT)
            for part, epoch in numbers:
                yield self._rows(part, epoch)

        return self._batches(rows, self._config.batch_size)

    def evaluation_dataset(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> tf.data.Dataset:
        """Returns all rows once, in order, with fixed noise."""
        size = batch_size or self._config.batch_size
        steps = num_batches(self.num_examples, size, max_steps)

        def rows() -> Iterator[Rows]:
            for start in range(0, self.num_examples, _ROWS_PER_UNIT):
                stop = min(start + _ROWS_PER_UNIT, self.num_examples)
                yield self._rows(np.arange(start, stop), _EVALUATION_EPOCH)

        return finish(self._batches(rows, size).take(steps), steps)

    def _rows(self, numbers: np.ndarray, epoch: int) -> Rows:
        """Returns rows of the stream with noise.

        Args:
            numbers: int64 [N], numbers of the rows.
            epoch: Number of the epoch.

        Returns:
            Sources int32 [N, S], EMPTY behind their ends; labels int32 [N, T];
            and weights float32 [N].
        """
        length = self._noise.num_tokens
        starts = np.minimum(numbers * length, len(self._stream) - length)
        tokens = np.stack([self._stream.read(s, s + length) for s in starts])
        keys = stateless.array_keys(self._config.seed, epoch, numbers)
        noisy = self._noise(tokens, keys)
        return (
            self._with_special(noisy.sources),
            self._with_special(noisy.targets),
            np.ones(len(numbers), np.float32),
        )

    def _with_special(self, tokens: np.ndarray) -> np.ndarray:
        """Opens and closes rows as the tokenizer does.

        Args:
            tokens: int32 [N, L], EMPTY behind their ends.

        Returns:
            int32 [N, L + the special tokens].
        """
        rows, width = tokens.shape
        template = self._template
        opens, closes = len(template.opens), len(template.closes)
        whole = np.full((rows, opens + width + closes), EMPTY, np.int32)
        whole[:, :opens] = template.opens
        whole[:, opens : opens + width] = tokens
        ends = opens + (tokens != EMPTY).sum(axis=1)  # [N]
        for i, token in enumerate(template.closes):
            whole[np.arange(rows), ends + i] = token
        return whole

    def _batches(
        self, generate: Callable[[], Iterator[Rows]], size: int
    ) -> tf.data.Dataset:
        """Cuts generated rows into batches of `size` rows."""
        special = self._template.num_special(1)
        rows = tf.data.Dataset.from_generator(
            generate,
            output_signature=(
                tf.TensorSpec(
                    [None, self._noise.source_width + special], tf.int32
                ),
                tf.TensorSpec(
                    [None, self._noise.target_width + special], tf.int32
                ),
                tf.TensorSpec([None], tf.float32),
            ),
        )
        return rows.rebatch(size).map(
            lambda sources, labels, real: self._to_batch(
                sources, labels, real, size
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def _to_batch(
        self, sources: tf.Tensor, labels: tf.Tensor, real: tf.Tensor, size: int
    ) -> Batch:
        """Splits features and labels; fills up to `size` rows of weight 0."""
        count = tf.shape(real)[0]
        row = tf.minimum(tf.range(size), count - 1)  # [B]
        sources, labels = tf.gather(sources, row), tf.gather(labels, row)
        real = tf.pad(real, [[0, size - count]])
        real = tf.ensure_shape(real, [size])
        start = tf.fill([size, 1], self._config.decoder_start_token_id)
        inside = sources != EMPTY  # [B, S]
        x = {
            "source_ids": tf.where(inside, sources, self._template.pad),
            "source_mask": tf.cast(inside, tf.int32),
            "token_ids": tf.concat([start, labels[:, :-1]], axis=1),  # [B, T]
            "padding_mask": tf.ones_like(labels),
        }
        weights = tf.ones_like(labels, tf.float32) * real[:, tf.newaxis]
        return x, {"seq2seq": labels}, {"seq2seq": weights}
