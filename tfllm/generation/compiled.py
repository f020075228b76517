"""A decoder whose steps of a few tokens run as one XLA program."""

from typing import Any

import tensorflow as tf

from tfllm.generation.decode import Decoder

# A step reads one token, or in speculative decoding those of the draft.
_LONGEST_STEP = 8


class CompiledDecoder:
    """A Decoder that gives what another gives, faster.

    Compiled is what comes before the logits: XLA multiplies the token table
    with a few rows more slowly than TensorFlow's own product does. Reading a
    prompt stays as it is, too: it is done once, and compiling it for each
    length would take longer than it saves.

    Args:
        model: A Decoder.
    """

    def __init__(self, model: Decoder) -> None:
        """See the class."""
        self.model = model
        self.transformer = model.transformer
        self._step = tf.function(
            lambda *args, **kwargs: model.transformer(*args, **kwargs),
            autograph=False,
            jit_compile=True,
        )

    def create_cache(self, batch_size: int, length: int) -> list[Any]:
        """Returns empty caches."""
        return self.model.create_cache(batch_size, length)

    def logits(self, hidden_states: Any) -> Any:
        """Returns float32 logits of hidden states."""
        return self.model.logits(hidden_states)

    def __call__(
        self,
        token_ids: Any,
        padding_mask: Any,
        position_ids: Any,
        cache: list[Any],
        last_only: bool,
    ) -> tuple[dict[str, Any], list[Any]]:
        """Returns `clm` logits and `hidden_states`, and the new caches."""
        inputs = {
            "padding_mask": padding_mask,
            "position_ids": position_ids,
            "cache": cache,
        }
        if token_ids.shape[1] > _LONGEST_STEP:
            return self.model(token_ids, last_only=last_only, **inputs)
        hidden, cache = self._step(token_ids, **inputs)
        logits = self.logits(hidden[:, -1:] if last_only else hidden)
        return {"clm": logits, "hidden_states": hidden}, cache
