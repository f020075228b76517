"""Text infilling: each span becomes one mask, and the target is the text.

With spans "for inviting" and "last", and an empty one before "party":

    text    Thank you for inviting me to your party last
    source  Thank you <mask> me to your <mask> party <mask>
    target  Thank you for inviting me to your party last

Before that, sentences are shuffled; after it, single tokens may be masked or
left out, and rows be rotated.

Reference: Lewis et al., 2020, section 2.2.
NOTE: spans do not touch each other, so that each has its own mask, and the last
one is cut so that every row has the same number of noisy tokens.
"""

import math

import numpy as np

from tfllm import stateless
from tfllm.data.denoising.config import DenoisingOptions
from tfllm.data.denoising.noise import EMPTY, Noisy, compact, uniform

# Streams of `stateless.draw_array`.
_SENTENCES, _LENGTHS, _PLACES, _MASKED, _DELETED, _ROTATION = range(6)


class TextInfilling:
    """Masks spans of text; see `Noise` of `tfllm.data.denoising.noise`.

    Args:
        options: Density and mean length of the spans, and the other noises.
        mask_id: Id of the mask; None where the options need none.
        ends_sentence: bool [V], whether a sentence ends with a token.
        room: Tokens of a row, without special tokens.

    Raises:
        ValueError: The options need a mask and there is none.
    """

    def __init__(
        self,
        options: DenoisingOptions,
        mask_id: int | None,
        ends_sentence: np.ndarray,
        room: int,
    ) -> None:
        self._options = options
        if mask_id is None and options.masks:
            raise ValueError(
                "text_infilling needs a mask token (`mask_token`). Received: "
                "a tokenizer without one. With `noise_density` and "
                "`token_masking` 0 none is needed: sentences are shuffled, "
                "and tokens left out as `token_deletion` says."
            )
        self._mask_id = EMPTY if mask_id is None else mask_id
        self._ends_sentence = ends_sentence
        self._noisy = round(room * options.density)
        self._bounds = poisson_bounds(options.mean_span_length)
        self.num_tokens = self.source_width = self.target_width = room

    def __call__(self, tokens: np.ndarray, keys: np.ndarray) -> Noisy:
        """Adds noise to tokens [N, L]."""
        options = self._options
        sources = tokens
        if options.permute_sentences:
            sources = self._permute(sources, keys)
        if self._noisy:
            sources = self._infill(sources, keys)
        width = sources.shape[1]
        if options.token_masking:
            drawn = uniform(keys, _MASKED, width) < options.token_masking
            drawn &= sources != EMPTY
            sources = np.where(drawn, self._mask_id, sources)
        if options.token_deletion:
            keep = uniform(keys, _DELETED, width) >= options.token_deletion
            sources = compact(sources, keep & (sources != EMPTY), width)
        if options.rotate_documents:
            sources = _rotate(sources, uniform(keys, _ROTATION, 1))
        return Noisy(sources.astype(np.int32), tokens)

    def _permute(self, tokens: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Shuffles the sentences of each row, [N, L]."""
        ends = self._ends_sentence[tokens]
        # A sentence may end with several such tokens, as "..." does.
        ends[:, :-1] &= ~ends[:, 1:]
        number = np.cumsum(ends, axis=1) - ends  # [N, L]
        scores = stateless.draw_array(keys, _SENTENCES, tokens.shape[1])
        scores = np.take_along_axis(scores, number, axis=1)
        # Stable: the tokens of a sentence have one score and stay in order.
        order = np.argsort(scores, axis=1, kind="stable")
        return np.take_along_axis(tokens, order, axis=1)

    def _infill(self, tokens: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Replaces spans by masks; returns int32 [N, L]."""
        rows, width = tokens.shape
        kept = width - self._noisy
        lengths, is_span = self._spans(keys)  # [N, noisy]
        # Spans go before kept tokens, or behind the last one, in random order.
        bits = stateless.draw_array(keys, _PLACES, kept + 1)
        places = np.argsort(bits, axis=1, kind="stable")[:, : self._noisy]
        sizes = np.zeros((rows, kept + 1), np.int64)
        masks = np.zeros((rows, kept + 1), bool)
        np.put_along_axis(sizes, places, lengths, axis=1)
        np.put_along_axis(masks, places, is_span, axis=1)
        # Column of each kept token in the text.
        columns = np.arange(kept) + np.cumsum(sizes[:, :-1], axis=1)
        text = np.take_along_axis(tokens, columns, axis=1)  # [N, kept]
        text = np.pad(text, ((0, 0), (0, 1)))  # [N, kept + 1]
        stays = np.arange(kept + 1) < kept
        # [N, kept + 1, 2] -> [N, 2 * (kept + 1)]: a mask before each token.
        pairs = np.stack([np.full_like(text, self._mask_id), text], axis=2)
        keep = np.stack([masks, np.broadcast_to(stays, masks.shape)], axis=2)
        return compact(pairs.reshape(rows, -1), keep.reshape(rows, -1), width)

    def _spans(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draws lengths until they add up to the number of noisy tokens.

        Returns:
            Lengths int64 [N, noisy], and bool [N, noisy], true for spans. A
            source is never longer than its text, as there are at most as many
            spans as noisy tokens.
        """
        most = self._noisy
        # Enough for any mean of at least 1.
        drawn = uniform(keys, _LENGTHS, 2 * most + 16)
        lengths = np.searchsorted(self._bounds, drawn, side="right")
        left = most - (np.cumsum(lengths, axis=1) - lengths)
        lengths = np.clip(lengths, 0, np.maximum(left, 0))
        has_text, is_empty = lengths > 0, (lengths == 0) & (left > 0)
        room = most - has_text.sum(axis=1, keepdims=True)  # [N, 1]
        is_span = has_text | (is_empty & (np.cumsum(is_empty, axis=1) <= room))
        order = np.argsort(~is_span, axis=1, kind="stable")[:, :most]
        lengths = np.take_along_axis(lengths, order, axis=1)
        is_span = np.take_along_axis(is_span, order, axis=1)
        # Should the draws not suffice, the first one takes the rest.
        lengths[:, 0] += most - lengths.sum(axis=1)
        return lengths, is_span


def poisson_bounds(mean: float) -> np.ndarray:
    """Returns the cumulative probabilities of 0, 1, 2, ... events."""
    probabilities = [math.exp(-mean)]
    while len(probabilities) < 10 * mean + 30:
        probabilities.append(probabilities[-1] * mean / len(probabilities))
    return np.cumsum(probabilities)


def _rotate(tokens: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Begins each row at a random token.

    Args:
        tokens: int32 [N, L], EMPTY behind the text.
        draws: float [N, 1], uniform in [0, 1).
    """
    lengths = np.maximum((tokens != EMPTY).sum(axis=1, keepdims=True), 1)
    starts = (draws * lengths).astype(np.int64)  # [N, 1]
    place = np.arange(tokens.shape[1])[np.newaxis]  # [1, L]
    columns = np.where(place < lengths, (place + starts) % lengths, place)
    return np.take_along_axis(tokens, columns, axis=1)
