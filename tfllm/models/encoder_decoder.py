"""An encoder, and a decoder with cross-attention to its output."""

from typing import Any

from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.embeddings import Embeddings
from tfllm.layers.kv_cache import Cache
from tfllm.models.config import TransformerConfig
from tfllm.models.transformer import Transformer


class EncoderDecoder(ConfiguredLayer):
    """An encoder stack and a decoder stack with cross-attention.

    Args:
        config: TransformerConfig with both stacks.

    Call args:
        token_ids: int32 [B, T], input of the decoder.
        padding_mask: int32 or bool [B, T], true for real tokens, or [B, S]
            with a cache; None if all are real.
        source_ids: int32 [B, S], input of the encoder. Not with a cache, which
            holds the keys and values of the source.
        source_mask: int32 or bool [B, S], true for real tokens, or None.
        cache: Cache of `create_cache`, or None.
        training: Apply dropout.

    Returns:
        float [B, T, D], output of the decoder; with a cache, this and the new
        cache.

    Reference: Vaswani et al., 2017, section 3.1.
    """

    config_class = TransformerConfig

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        policy = self.dtype_policy
        self.encoder = Transformer(
            config.only("encoder"), name="encoder", dtype=policy
        )
        self.decoder = Transformer(
            config.only("decoder"), name="decoder", dtype=policy
        )

    @property
    def embeddings(self) -> Embeddings:
        """Embeddings of the input."""
        return self.encoder.embeddings

    @property
    def output_embeddings(self) -> Embeddings:
        """Embeddings whose table a tied output head uses."""
        shared = self.config.share_embeddings
        return (self.encoder if shared else self.decoder).embeddings

    @property
    def blocks(self) -> list[ConfiguredLayer]:
        """All blocks, those of the encoder first."""
        return [*self.encoder.blocks, *self.decoder.blocks]

    def parts_by_depth(self) -> list[list[ConfiguredLayer]]:
        """Returns the layers of each depth: the embeddings, then the blocks.

        The encoder's blocks come before the decoder's.
        """
        embeddings = [self.encoder.embeddings, self.decoder.embeddings]
        return [[*embeddings], *([block] for block in self.blocks)]

    def call(
        self,
        token_ids: Any,
        padding_mask: Any = None,
        source_ids: Any = None,
        source_mask: Any = None,
        cache: Cache | None = None,
        training: bool = False,
    ) -> Any:
        """Returns the decoder's output [B, T, D]; and with a cache, that."""
        source = None
        if cache is None:
            source = self.encoder(
                source_ids, padding_mask=source_mask, training=training
            )
        return self.decoder(
            token_ids,
            padding_mask=padding_mask,
            cache=cache,
            source=source,
            source_mask=source_mask,
            token_table=self.output_embeddings.token_table,
            training=training,
        )

    def create_cache(
        self,
        batch_size: int,
        length: int,
        source_ids: Any,
        source_mask: Any = None,
    ) -> Cache:
        """Runs the encoder; returns an empty cache for the decoder.

        Args:
            batch_size: B.
            length: Tokens that the cache has room for.
            source_ids: int32 [B, S].
            source_mask: int32 or bool [B, S] or None.
        """
        source = self.encoder(source_ids, padding_mask=source_mask)
        return self.decoder.create_cache(
            batch_size, length, source, source_mask
        )
