"""A decoder that runs steps of a few tokens as one XLA program."""

from typing import Any

import tensorflow as tf

from tfllm.generation.decode import Cache, Decoder

# A step reads one token, or in speculative decoding the draft's tokens.
_LONGEST_STEP = 8


class CompiledDecoder:
    """Compiles the steps of another Decoder with XLA.

    The logits are not compiled: XLA multiplies the token table with a few rows
    more slowly than TensorFlow does. Prompts are not either: each is read
    once, and compiling every length would take longer than it saves.

    Args:
        model: Decoder to compile.
    """

    def __init__(self, model: Decoder) -> None:
        self.model = model
        self.transformer = model.transformer
        self._step = tf.function(
            lambda *args, **kwargs: model.transformer(*args, **kwargs),
            autograph=False,
            jit_compile=True,
        )

    def start(
        self, prompts: Any, real: Any, room: int, first: int | None
    ) -> tuple[Any, Any, Cache]:
        """Returns ids and mask of the first pass, [B, P], and a cache."""
        return self.model.start(prompts, real, room, first)

    def logits(self, hidden_states: Any) -> Any:
        """Returns float32 logits of hidden states."""
        return self.model.logits(hidden_states)

    def __call__(
        self, token_ids: Any, padding_mask: Any, cache: Cache, last_only: bool
    ) -> tuple[dict[str, Any], Cache]:
        """Returns `clm` logits and `hidden_states`, and the new cache."""
        inputs = {"padding_mask": padding_mask, "cache": cache}
        if token_ids.shape[1] > _LONGEST_STEP:
            return self.model(token_ids, last_only=last_only, **inputs)
        hidden, cache = self._step(token_ids, **inputs)
        logits = self.logits(hidden[:, -1:] if last_only else hidden)
        return {"clm": logits, "hidden_states": hidden}, cache
