"""Examples to batches of tokens to predict, in a random order of each row."""

import numpy as np
import tensorflow as tf

from tfllm import stateless
from tfllm.data.masked.batches import Batch, MaskedData, open_source
from tfllm.data.masked.config import MaskedDataConfig
from tfllm.data.masked.masking import Masker
from tfllm.tokenizers.text_tokenizer import Tokenizer

# Stream of `stateless.draw`, apart from those of the masks.
_FACTORIZATION = 3


def open_permutation_data(
    files: str,
    tokenizer: Tokenizer,
    config: MaskedDataConfig,
    index_dir: str | None = None,
    flag: str = "train_files",
) -> "PermutationData":
    """Opens prepared shards or plain text; see `open_masked_data`.

    Args:
        files: Folder of shards for masked language models without pairs, or
            text globs, comma-separated.
        tokenizer: The tokenizer of the run.
        config: How examples become batches.
        index_dir: Folder that keeps the counts of text files between runs.
        flag: Name of the flag of `files`, for messages.

    Raises:
        ValueError: Files are missing, empty or binary, or shards do not fit
            the tokenizer or the settings.
    """
    source = open_source(files, tokenizer, config, index_dir, flag)
    return PermutationData(source, tokenizer, config)


class PermutationData(MaskedData):
    """Batches of rows, some of whose tokens are predicted in random order.

    A batch is (x, y, sample_weight), each a flat dict:
        x: token_ids, segment_ids, padding_mask int32 [B, T];
           masked_positions int32 [B, P], of the tokens to predict;
           factorization_order int32 [B, T], from 1 for these, in the order in
           which they are predicted, and 0 for all others
        y: plm int32 [B, P]
        sample_weight: plm float32 [B, P]

    Tokens, spans and order are a function of (seed, epoch, example).

    Reference: Yang et al., 2019, sections 2.2, 2.3 (partial prediction) and
    appendix A.5 (spans).
    """

    def _to_batch(
        self, table: dict[str, tf.Tensor], masker: Masker, size: int
    ) -> Batch:
        """Chooses tokens and their order; fills up to `size` rows."""
        x, y, weights = super()._to_batch(table, masker, size)
        last = tf.shape(table["ids"])[0] - 1
        row = tf.minimum(tf.range(size), last)
        keys = stateless.row_keys(
            self._config.seed,
            tf.gather(table["epochs"], row),
            tf.gather(table["ids"], row),
        )
        bits = stateless.draw(keys, _FACTORIZATION, self.num_slots)
        scores = tf.cast(tf.bitwise.right_shift(bits, np.uint64(1)), tf.int64)
        used = weights["mlm"] > 0
        order = factorization_order(
            scores, x["masked_positions"], used, self._config.seq_length
        )
        x = {**x, "factorization_order": order}
        return x, {"plm": y["mlm"]}, {"plm": weights["mlm"]}


def factorization_order(
    scores: tf.Tensor, positions: tf.Tensor, used: tf.Tensor, length: int
) -> tf.Tensor:
    """Returns the order in which tokens are predicted, from 1.

    Args:
        scores: int64 [B, P], random numbers to order by.
        positions: int32 [B, P], positions of the tokens.
        used: bool [B, P], false for slots without a token.
        length: T.

    Returns:
        int32 [B, T], 0 for all other tokens.
    """
    scores = tf.where(used, scores, tf.int64.max)  # unused slots come last
    by_rank = tf.argsort(scores, axis=1, stable=True)
    ranks = tf.argsort(by_rank, axis=1, stable=True) + 1  # [B, P]
    rows = tf.broadcast_to(
        tf.range(tf.shape(positions)[0])[:, tf.newaxis], tf.shape(positions)
    )
    # A sum: unused slots, which name position 0, add nothing.
    return tf.scatter_nd(
        tf.stack([rows, positions], axis=2),
        tf.where(used, ranks, 0),
        [tf.shape(positions)[0], length],
    )
