"""The training batch and the prompts that all sides share."""

import numpy as np

from tools.peers.protocol import Work

# The ids of BERT's English vocabulary; random tokens stay above them.
CLS_ID, SEP_ID, MASK_ID = 101, 102, 103
FIRST_WORD_ID = 1000


def make_batch(work: Work) -> dict[str, np.ndarray]:
    """Makes sentence pairs of random words, without padding.

    Args:
        work: Gives the shapes and the seed.

    Returns:
        token_ids, segment_ids, padding_mask int32 [B, T];
        masked_positions, mlm int32 [B, P]; nsp int32 [B].
    """
    rng = np.random.default_rng(work.seed)
    shape = (work.batch_size, work.seq_length)
    middle = work.seq_length // 2
    token_ids = rng.integers(FIRST_WORD_ID, work.vocab_size, shape)
    token_ids[:, 0] = CLS_ID
    token_ids[:, [middle, -1]] = SEP_ID
    segment_ids = np.zeros(shape)
    segment_ids[:, middle + 1 :] = 1
    words = np.flatnonzero(token_ids[0] >= FIRST_WORD_ID)
    masked_positions = np.sort(
        [
            rng.choice(words, work.num_masked, replace=False)
            for _ in range(work.batch_size)
        ],
        axis=1,
    )
    mlm = np.take_along_axis(token_ids, masked_positions, axis=1)
    masked = np.where(rng.random(mlm.shape) < 0.8, MASK_ID, mlm)
    np.put_along_axis(token_ids, masked_positions, masked, axis=1)
    batch = {
        "token_ids": token_ids,
        "segment_ids": segment_ids,
        "padding_mask": np.ones(shape),
        "masked_positions": masked_positions,
        "mlm": mlm,
        "nsp": rng.integers(0, 2, work.batch_size),
    }
    return {name: value.astype("int32") for name, value in batch.items()}


def make_tokens(work: Work) -> np.ndarray:
    """Makes random tokens for a model that generates.

    Args:
        work: Gives the shapes and the seed.

    Returns:
        int32 [B, T + 1] for a training step of a decoder: inputs, and labels
        shifted by one. int32 [B, T] prompts for a generation.
    """
    rng = np.random.default_rng(work.seed)
    length = work.seq_length + (work.kind == "clm")
    shape = (work.batch_size, length)
    return rng.integers(0, work.vocab_size, shape).astype("int32")


def make_pairs(work: Work) -> tuple[np.ndarray, np.ndarray]:
    """Makes random sources and targets for an encoder-decoder.

    Args:
        work: Gives the shapes and the seed.

    Returns:
        source_ids int32 [B, T] and target_ids int32 [B, T].
    """
    rng = np.random.default_rng(work.seed)
    shape = (2, work.batch_size, work.seq_length)
    # Id 0 is the padding of T5, which losses leave out.
    source_ids, target_ids = rng.integers(1, work.vocab_size, shape)
    return source_ids.astype("int32"), target_ids.astype("int32")
