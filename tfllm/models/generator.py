"""The small masked language model beside a discriminator."""

import dataclasses

from tfllm.models.config import TransformerConfig


def generator_config(
    config: TransformerConfig, size: float
) -> TransformerConfig:
    """Returns the config of a generator for a discriminator.

    It has the layers and the embeddings of the discriminator, but fewer heads
    of the same width, and narrower blocks in the same proportion.

    Args:
        config: Config of the discriminator, an encoder with a
            `masked_lm_head`.
        size: Share of the heads, above 0 and at most 1; there is at least one.

    Raises:
        ValueError: The size is out of range.

    Reference: Clark et al., 2020, section 3.2.
    """
    if not 0.0 < size <= 1.0:
        raise ValueError(
            f"`generator_size` must be above 0 and at most 1. Received: {size}"
        )
    replace = dataclasses.replace
    stack = config.stack
    block, embeddings = stack.block, stack.embeddings
    total = block.attention.num_heads
    heads = max(1, round(size * total))
    width = stack.hidden_size * heads // total
    inner = block.feed_forward.intermediate_size * heads // total
    is_narrow = embeddings.table_size != width
    parts = {
        name: replace(head, hidden_size=width)
        for name in ("pooler", "masked_lm_head", "detection_head")
        if (head := getattr(config, name)) is not None
    }
    return replace(
        config,
        encoder=replace(
            stack,
            embeddings=replace(
                embeddings,
                hidden_size=width,
                embedding_size=embeddings.table_size if is_narrow else None,
                projection="sum" if is_narrow else None,
            ),
            block=replace(
                block,
                attention=replace(
                    block.attention, hidden_size=width, num_heads=heads
                ),
                feed_forward=replace(
                    block.feed_forward,
                    hidden_size=width,
                    intermediate_size=inner,
                ),
                norm=replace(block.norm, hidden_size=width),
            ),
        ),
        **parts,
    )
